//! `serve`: the daemon. It reads the files, hands over to [`crate::daemon`] and shapes how that ended.

use serde_json::json;

use super::context::Context;
use super::output::{Answer, Failure};
use crate::daemon::{self, Ended};

/// Answers `serve`, when it has ended.
pub(super) async fn serve(context: &Context) -> Result<Answer, Failure> {
    let mut loaded = context.load();
    let world = context.world_of(&mut loaded)?;
    let service = daemon::open(world).await.map_err(|trouble| Failure::trouble(&trouble))?;
    let ended = daemon::serve(&service, context.file(), &loaded).await;
    let ended = ended.map_err(|trouble| Failure::trouble(&trouble))?;
    let text = match ended {
        Ended::Stopped => "stopped\n",
        Ended::AtOnce => "stopped at once; the next start finishes what was begun\n",
        Ended::Broken => "stopped, since a part of it ended: the log tells which\n",
    };
    Ok(Answer::new(&json!({"ended": ended}), text)?.exit(ended.exit_code()))
}
