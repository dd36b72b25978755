//! The Lease service.

use std::time::Duration;

use futures::{Stream, StreamExt};
use tonic::{Status, Streaming};

use super::Inner;
use super::convert::{lease, status};
use crate::proto::{
    HeaderResponse, LeaseGrantRequest, LeaseLeasesResponse, LeaseRequest, LeaseResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, Nothing,
};
use crate::{Error, LeaseId};

impl Inner {
    pub(super) async fn lease_grant(&self, request: LeaseGrantRequest) -> Result<LeaseResponse, Status> {
        let ttl = u64::try_from(request.ttl).unwrap_or_default();
        let granted = self.store.lease_grant(lease(request.id), Duration::from_secs(ttl)).await;
        let granted = granted.map_err(status)?;
        let header = Some(self.recent_header());
        Ok(LeaseResponse { header, id: granted.id.0, ttl: granted.ttl.as_secs() as i64 })
    }

    pub(super) async fn lease_revoke(&self, request: LeaseRequest) -> Result<HeaderResponse, Status> {
        let revision = self.store.lease_revoke(LeaseId(request.id)).await.map_err(status)?;
        Ok(HeaderResponse { header: Some(self.header(revision)) })
    }

    /// One answer for each request; the time to live of a lease that is gone is 0.
    pub(super) fn lease_keep_alive(
        self: std::sync::Arc<Self>,
        requests: Streaming<LeaseRequest>,
    ) -> impl Stream<Item = Result<LeaseResponse, Status>> {
        requests.then(move |request| {
            let inner = self.clone();
            async move {
                let id = request?.id;
                let ttl = match inner.store.lease_keep_alive(LeaseId(id)).await {
                    Ok(lease) => lease.ttl.as_secs() as i64,
                    Err(Error::LeaseNotFound { .. }) => 0,
                    Err(error) => return Err(status(error)),
                };
                Ok(LeaseResponse { header: Some(inner.recent_header()), id, ttl })
            }
        })
    }

    /// The time to live of a lease that is gone is -1.
    pub(super) async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLiveRequest,
    ) -> Result<LeaseTimeToLiveResponse, Status> {
        let mut response = LeaseTimeToLiveResponse {
            header: Some(self.recent_header()),
            id: request.id,
            ttl: -1,
            ..LeaseTimeToLiveResponse::default()
        };
        match self.store.lease_status(LeaseId(request.id)).await {
            Ok(found) => {
                response.ttl = found.remaining.as_secs_f64().ceil() as i64;
                response.granted_ttl = found.lease.ttl.as_secs() as i64;
                if request.keys {
                    response.keys = found.keys.into_iter().map(Into::into).collect();
                }
            }
            Err(Error::LeaseNotFound { .. }) => {}
            Err(error) => return Err(status(error)),
        }
        Ok(response)
    }

    pub(super) async fn lease_leases(&self, _: Nothing) -> Result<LeaseLeasesResponse, Status> {
        let leases = self.store.leases().await.map_err(status)?;
        let leases = leases.into_iter().map(|lease| LeaseRequest { id: lease.id.0 }).collect();
        Ok(LeaseLeasesResponse { header: Some(self.recent_header()), leases })
    }
}
