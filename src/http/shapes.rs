//! The shapes of bodies, as the `OpenAPI` document tells them. It owns names and descriptions; a test holds that every
//! field that is answered is in them.

use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::error::{ErrorBody, ErrorFields};

/// The document without its paths, which come from the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "retentiond",
        description = "Erasure requests, accounts, holds and evidence. Errors have one shape and a stable `code`. Every \
                       call that changes something carries an `Idempotency-Key`."
    ),
    components(schemas(ErrorBody, ErrorFields)),
    modifiers(&Bearer)
)]
pub struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token made by `retentiond token create`."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Live {
    /// Always true.
    pub live: bool,
}

/// Whether the process can be asked.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// All of the others are as they should be.
    pub ready: bool,
    /// The ledger answers.
    pub ledger: bool,
    /// Policies are in force.
    pub policies: bool,
    /// The process is to stop and takes no new calls.
    pub stopping: bool,
}
