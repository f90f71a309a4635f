//! `adopt`: an operator says that a store which was moved or restored is the one meant. It shapes the answer; what is
//! taken for a store and what never is, is said by the services.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::output::{Answer, Failure};
use super::values;
use crate::gather;
use crate::id::StoreId;

/// What `adopt` takes.
#[derive(Debug, Args)]
pub(super) struct AdoptArgs {
    /// The store, as in `[stores.NAME]`.
    store: String,
    /// Why it is another server, file or folder than before; its digest goes into the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Answers `adopt`.
pub(super) async fn adopt(context: &Context, args: AdoptArgs) -> Result<Answer, Failure> {
    let reason = values::words("--reason", &args.reason)?;
    let world = context.world()?;
    let desk = context.desk(&world.config).await?;
    let store = StoreId::new(args.store);
    let fingerprint = gather::adopt(&world, &*desk.ledger, &store, &reason)
        .await
        .map_err(|trouble| Failure::trouble(&trouble))?;
    let text = format!(
        "Store `{store}` is from now on the one that says of itself `{fingerprint}`\n\
         If it came out of a backup, what was erased since may be in it again: the next run erases what is due by age \
         and termination; requests that were completed since have to be made again\n"
    );
    let answer = Answer::new(&json!({"store": store, "fingerprint": fingerprint}), text)?;
    Ok(desk.close(answer).await)
}
