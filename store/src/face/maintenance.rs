//! The Maintenance and Auth services, as far as they make sense for any store.

use tonic::Status;

use super::Inner;
use super::convert::{revision, status};
use crate::proto::{
    AlarmMember, AlarmRequest, AlarmResponse, AuthStatusResponse, HashKvRequest, HashKvResponse, HashResponse,
    HeaderResponse, Nothing, StatusResponse,
};
use crate::{Consistency, Health, KeyRange, RangeOptions};

/// Keys that are hashed between two breaths.
const HASH_PAGE: usize = 1000;
const NO_SPACE: i32 = 1;

impl Inner {
    pub(super) async fn status(&self, _: Nothing) -> Result<StatusResponse, Status> {
        let (found, header) = self.found().await?;
        let replication = found.replication.clone().unwrap_or_default();
        let errors = match &found.health {
            Health::Serving => Vec::new(),
            Health::ReadOnly(reason) | Health::Failed(reason) => vec![reason.clone()],
        };
        let in_use = found.bytes + found.history_bytes;
        let leader = if found.replication.is_some() { replication.leader.unwrap_or(0) } else { self.config.member_id };
        Ok(StatusResponse {
            header: Some(header),
            version: self.config.version.clone(),
            db_size: found.disk_bytes.max(in_use) as i64,
            db_size_in_use: in_use as i64,
            leader,
            raft_index: replication.committed_index.max(found.revision.0),
            raft_term: header.raft_term,
            raft_applied_index: replication.applied_index.max(found.revision.0),
            is_learner: replication.learners.contains(&replication.id) && replication.id != 0,
            errors,
        })
    }

    /// A full disk is the one alarm there is; it goes away by itself.
    pub(super) async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Status> {
        let (found, header) = self.found().await?;
        let is_full = matches!(found.health, Health::ReadOnly(_));
        let alarm = AlarmMember { member_id: self.config.member_id, alarm: NO_SPACE };
        let is_asked = request.action == 0 && matches!(request.alarm, 0 | NO_SPACE);
        let alarms = if is_full && is_asked { vec![alarm] } else { Vec::new() };
        Ok(AlarmResponse { header: Some(header), alarms })
    }

    /// There is nothing to do: space is given back as history is compacted.
    pub(super) async fn defragment(&self, _: Nothing) -> Result<HeaderResponse, Status> {
        Ok(HeaderResponse { header: Some(self.newest_header().await?) })
    }

    /// The checksum of all keys at a revision, and of the store's newest if none is given.
    pub(super) async fn hash_kv(&self, request: HashKvRequest) -> Result<HashKvResponse, Status> {
        let (found, header) = self.found().await?;
        let options = RangeOptions::latest()
            .revision(revision(request.revision)?.or(Some(found.revision)))
            .consistency(Consistency::Serializable)
            .limit(HASH_PAGE);
        let (mut range, mut hash) = (KeyRange::all(), 0);
        loop {
            let page = self.store.range(range, options).await.map_err(status)?;
            for entry in &page.entries {
                for part in [&entry.key[..], &entry.value] {
                    hash = crc32c::crc32c_append(hash, &(part.len() as u64).to_le_bytes());
                    hash = crc32c::crc32c_append(hash, part);
                }
                for number in [entry.create_revision.0, entry.mod_revision.0, entry.version] {
                    hash = crc32c::crc32c_append(hash, &number.to_le_bytes());
                }
            }
            match page.entries.last().filter(|_| page.more) {
                Some(last) => range = KeyRange::starting_at(last.key.successor()),
                None => break,
            }
        }
        let compact_revision = found.compacted.0 as i64;
        Ok(HashKvResponse { header: Some(header), hash, compact_revision })
    }

    /// The checksum of all keys at the newest revision.
    pub(super) async fn hash(&self, _: Nothing) -> Result<HashResponse, Status> {
        let found = self.hash_kv(HashKvRequest { revision: 0 }).await?;
        Ok(HashResponse { header: found.header, hash: found.hash })
    }

    pub(super) async fn auth_status(&self, _: Nothing) -> Result<AuthStatusResponse, Status> {
        let header = Some(self.newest_header().await?);
        Ok(AuthStatusResponse { header, enabled: false, auth_revision: 1 })
    }
}
