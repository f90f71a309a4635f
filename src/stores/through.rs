//! How a store looks: through the reader that it holds. It owns that one delegation, so that no store writes it again.

/// Implements [`super::Reader`] for a store by handing every question to its field `reader`, whose connection does
/// not erase: a read-back never trusts the connection that wrote.
macro_rules! look_through_reader {
    ($store:ty) => {
        #[async_trait::async_trait]
        impl $crate::stores::Reader for $store {
            fn capability(&self) -> $crate::facts::Capability {
                self.reader.capability()
            }

            async fn identity(&self) -> Result<$crate::stores::Identity, $crate::stores::StoreError> {
                self.reader.identity().await
            }

            async fn inspect(
                &self,
                placement: &$crate::policy::Placement,
            ) -> Result<Vec<$crate::stores::Finding>, $crate::stores::StoreError> {
                self.reader.inspect(placement).await
            }

            async fn survey(
                &self,
                query: &$crate::stores::Query,
            ) -> Result<$crate::facts::Survey, $crate::stores::StoreError> {
                self.reader.survey(query).await
            }

            async fn population(
                &self,
                placement: &$crate::policy::Placement,
                at_most: u64,
            ) -> Result<u64, $crate::stores::StoreError> {
                self.reader.population(placement, at_most).await
            }

            async fn look(
                &self,
                query: &$crate::stores::Query,
                key: &[String],
            ) -> Result<Option<$crate::stores::Seen>, $crate::stores::StoreError> {
                self.reader.look(query, key).await
            }

            async fn find(
                &self,
                query: &$crate::stores::Query,
                after: Option<&$crate::stores::Position>,
                budget: $crate::stores::Budget,
                naming: $crate::stores::NamingColumns<'_>,
            ) -> Result<Option<$crate::stores::Found>, $crate::stores::StoreError> {
                self.reader.find(query, after, budget, naming).await
            }

            async fn read(
                &self,
                query: &$crate::stores::Query,
                after: Option<&$crate::stores::Position>,
                budget: $crate::stores::Budget,
            ) -> Result<Option<$crate::stores::Read>, $crate::stores::StoreError> {
                self.reader.read(query, after, budget).await
            }

            async fn body(
                &self,
                placement: &$crate::policy::Placement,
                tenant: &$crate::id::TenantId,
                key: &$crate::stores::Key,
            ) -> Result<Option<$crate::stores::Body>, $crate::stores::StoreError> {
                self.reader.body(placement, tenant, key).await
            }

            async fn absent(
                &self,
                query: &$crate::stores::Query,
                batch: &$crate::stores::Batch,
            ) -> Result<$crate::stores::StillThere, $crate::stores::StoreError> {
                self.reader.absent(query, batch).await
            }

            async fn naming_rows(
                &self,
                placement: &$crate::policy::Placement,
                column: &str,
                locators: &[String],
                beside: &[$crate::stores::Key],
            ) -> Result<$crate::stores::NamedBy, $crate::stores::StoreError> {
                self.reader.naming_rows(placement, column, locators, beside).await
            }

            async fn parts(
                &self,
                placement: &$crate::policy::Placement,
            ) -> Result<Vec<String>, $crate::stores::StoreError> {
                self.reader.parts(placement).await
            }

            async fn children(
                &self,
                placement: &$crate::policy::Placement,
            ) -> Result<Vec<$crate::stores::Child>, $crate::stores::StoreError> {
                self.reader.children(placement).await
            }

            async fn residual(
                &self,
                placement: &$crate::policy::Placement,
                now: chrono::DateTime<chrono::Utc>,
            ) -> Result<Vec<$crate::plan::Residual>, $crate::stores::StoreError> {
                self.reader.residual(placement, now).await
            }

            async fn inventory(
                &self,
                placement: &$crate::policy::Placement,
                after: &str,
                at_most: usize,
            ) -> Result<Vec<String>, $crate::stores::StoreError> {
                self.reader.inventory(placement, after, at_most).await
            }
        }
    };
}

pub(super) use look_through_reader;
