//! When a run takes place: ticks, missed ones, several daemons, retries, refusals, holds and stops that end.

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use retentiond::daemon::agenda::Cause;
use retentiond::enforce::RunStatus;

use super::{Daemon, TICK, present};
use crate::harness::{CALLER, World, instant};

const DONE: Option<RunStatus> = Some(RunStatus::Done);

fn night(day: u32) -> DateTime<Utc> {
    instant(&format!("2031-03-{day:02}T02:30:00+08:00"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_waits_for_the_next_tick_and_every_later_one_makes_up_what_it_missed_once() {
    let world = World::center();
    let mut daemon = Daemon::start(&world, instant("2031-03-09T12:00:00+08:00")).await;
    assert_eq!(daemon.at(instant("2031-03-09T12:00:00+08:00")).await, None, "nothing of the past is made up");
    assert_eq!(daemon.at(night(10) - TICK).await, None);
    assert_eq!(world.calls("t-1").len(), 5);
    assert_eq!(daemon.at(night(10)).await, Some((Cause::Tick, DONE)));
    assert_eq!(world.calls("t-1"), [14], "what has no time is parked");
    assert_eq!(daemon.at(night(10) + TICK).await, None);
    // Three nights without a machine.
    let mut again = Daemon::start(&world, instant("2031-03-13T09:00:00+08:00")).await;
    assert_eq!(again.at(instant("2031-03-13T09:00:00+08:00")).await, Some((Cause::Tick, DONE)));
    assert_eq!(again.at(instant("2031-03-13T09:00:01+08:00")).await, None);
    let claimed = again.ledger().last_tick("run").await.unwrap();
    assert_eq!(claimed, Some(night(13)), "the last of them, and only that");
    assert_eq!(again.at(night(14)).await, Some((Cause::Tick, DONE)));
    world.assert_settled();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_daemons_one_takes_each_tick() {
    let world = World::center();
    let mut one = Daemon::start(&world, night(9)).await;
    let mut other = one.beside(&world).await;
    assert_eq!((one.at(night(9)).await, other.at(night(9)).await), (None, None));
    assert_eq!(one.at(night(10)).await, Some((Cause::Tick, DONE)));
    assert_eq!(other.at(night(10)).await, None);
    assert_eq!(other.at(night(11)).await, Some((Cause::Tick, DONE)));
    assert_eq!(one.at(night(11)).await, None);
    assert_eq!(one.ledger().runs(9).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_another_daemon_took_and_never_served_is_served_a_minute_later() {
    let world = World::center();
    // No tick of the schedule falls into the hour from now.
    let month = if present().month() == 6 { 12 } else { 6 };
    world.edit("retentiond.toml", "[limits]", &format!("[schedule]\ncron = \"0 0 15 {month} *\"\n[limits]"));
    let start = present();
    let mut daemon = Daemon::start(&world, start).await;
    assert_eq!(daemon.at(start).await, None);
    world.ok(&format!("request create --tenant t-1 --subject {CALLER}"));
    let recorded = daemon.ledger().requests().await.unwrap()[0].recorded_at;
    let ready = recorded + TimeDelta::hours(1);
    assert!(daemon.ledger().claim_tick("request", ready, ready).await.unwrap(), "its process dies now");
    assert_eq!(daemon.at(ready).await, None);
    let minute = TimeDelta::minutes(1);
    assert_eq!(daemon.at(ready + minute - TICK).await, None);
    let run = daemon.at(ready + minute).await.expect("a run");
    assert_eq!(run.1, DONE, "the nightly tick may fall into this very minute: {:?}", run.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_is_tried_again_with_longer_pauses_until_it_does_not() {
    let world = World::center();
    let mut daemon = Daemon::start(&world, night(9)).await;
    assert_eq!(daemon.at(night(9)).await, None);
    std::fs::rename(world.path("objects"), world.path("elsewhere")).unwrap();
    let failed = Some(RunStatus::Failed);
    assert_eq!(daemon.at(night(10)).await, Some((Cause::Tick, failed)));
    let after = |minutes| night(10) + TimeDelta::minutes(minutes);
    assert_eq!(daemon.at(after(1) - TICK).await, None);
    let notes = daemon.service.notes();
    assert_eq!((notes.failures, notes.next_run.unwrap().cause), (1, "retry"), "{notes:?}");
    assert!(notes.failed.as_ref().is_some_and(|note| note.since == night(10)), "{notes:?}");
    assert_eq!(daemon.at(after(1)).await, Some((Cause::Retry, failed)));
    assert_eq!(daemon.at(after(3) - TICK).await, None);
    // A new process knows of the failures from the ledger.
    let mut daemon = daemon.beside(&world).await;
    assert_eq!(daemon.at(after(3) - TICK).await, None);
    assert_eq!(daemon.at(after(3)).await, Some((Cause::Retry, failed)));
    assert_eq!(daemon.service.notes().failed.unwrap().since, after(3));
    std::fs::rename(world.path("elsewhere"), world.path("objects")).unwrap();
    assert_eq!(daemon.at(after(7)).await, Some((Cause::Retry, DONE)));
    assert_eq!(daemon.at(after(60)).await, None);
    let notes = daemon.service.notes();
    assert_eq!((notes.failures, notes.failed, notes.next_run.unwrap().cause), (0, None, "run"));
    assert_eq!(world.calls("t-1"), [14]);
    world.assert_settled();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_a_limit_is_noted_and_waits_for_the_next_tick() {
    let world = World::center();
    world.edit("retentiond.toml", "records = 1000000", "records = 2");
    let mut daemon = Daemon::start(&world, night(9)).await;
    let refusal = Some((Cause::Tick, Some(RunStatus::Refused)));
    assert_eq!(daemon.at(night(9)).await, None);
    assert_eq!(daemon.at(night(10)).await, refusal);
    let refused = daemon.service.notes().refused.expect("a note");
    assert!(refused.message.contains("over the limit of 2"), "{refused:?}");
    for hours in [1, 6, 23] {
        assert_eq!(daemon.at(night(10) + TimeDelta::hours(hours)).await, None);
    }
    assert_eq!(daemon.at(night(11)).await, refusal);
    assert_eq!(daemon.service.notes().refused.unwrap().since, night(10), "it stands since then");
    assert_eq!(world.calls("t-1").len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stop_kept_back_goes_on_when_it_is_lifted() {
    let world = World::center();
    world.ok("stop --reason maintenance");
    let mut daemon = Daemon::start(&world, night(9)).await;
    assert_eq!(daemon.at(night(9)).await, None);
    assert_eq!(daemon.at(night(10)).await, Some((Cause::Tick, None)), "nothing could begin");
    assert!(daemon.service.notes().refused.unwrap().message.contains("maintenance"));
    assert_eq!(daemon.at(night(10) + TimeDelta::hours(3)).await, None, "it is not retried by itself");
    world.ok("go");
    assert_eq!(daemon.at(night(10) + TimeDelta::hours(4)).await, Some((Cause::Freed, DONE)));
    assert_eq!(daemon.service.notes().refused, None);
    assert_eq!(world.calls("t-1"), [14]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hold_kept_goes_at_once_when_it_is_released() {
    let world = World::center();
    let hold = world.ok("hold place --tenant t-1 --authority court");
    let mut daemon = Daemon::start(&world, night(9)).await;
    assert_eq!(daemon.at(night(9)).await, None);
    assert_eq!(daemon.at(night(10)).await, Some((Cause::Tick, DONE)));
    assert_eq!((world.calls("t-1").len(), world.calls("t-10").len()), (5, 1));
    world.ok(&format!("hold release {}", hold["hold_id"].as_str().unwrap()));
    assert_eq!(daemon.at(night(10) + TimeDelta::hours(4)).await, Some((Cause::Freed, DONE)));
    assert_eq!(world.calls("t-1"), [14]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_rarer_than_a_deadline_does_not_make_anything_late() {
    let world = World::center();
    world.edit("retentiond.toml", "[limits]", "[schedule]\ncron = \"0 0 1 1 *\"\n[limits]");
    let mut daemon = Daemon::start(&world, night(9)).await;
    assert_eq!(daemon.at(night(9)).await, None);
    // Two days are given by age; a run after one leaves another day for retries.
    assert_eq!(daemon.at(night(10) - TICK).await, None);
    assert_eq!(daemon.at(night(10)).await, Some((Cause::Deadline, DONE)));
    assert_eq!(daemon.at(night(11)).await, Some((Cause::Deadline, DONE)));
}
