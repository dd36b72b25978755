//! What a member says of itself.

use super::EtcdStore;
use crate::proto::{MemberListRequest, MemberListResponse, Nothing, StatusResponse};
use crate::{Consistency, Error, Health, KeyRange, RangeOptions, Replication, Store, StoreStatus};

pub(super) async fn of(store: &EtcdStore) -> Result<StoreStatus, Error> {
    let path = "/etcdserverpb.Maintenance/Status";
    let found: StatusResponse = match store.client.unary(path, Nothing {}).await {
        Ok(found) => found,
        Err(status) => return Err(store.error(status, None).await),
    };
    // As far as that member knows, so that one without the others answers too.
    let (path, asked) = ("/etcdserverpb.Cluster/MemberList", MemberListRequest { linearizable: false });
    let members: MemberListResponse = match store.client.unary(path, asked).await {
        Ok(members) => members,
        Err(status) => return Err(store.error(status, None).await),
    };
    let (learners, voters): (Vec<_>, Vec<_>) = members.members.iter().partition(|member| member.is_learner);
    let counted = RangeOptions::latest().count_only().consistency(Consistency::Serializable);
    let keys = store.range(KeyRange::all(), counted).await?.count.unwrap_or_default();
    let health = match found.errors.first() {
        None => Health::Serving,
        Some(reason) => Health::ReadOnly(reason.clone()),
    };
    Ok(StoreStatus {
        revision: store.seen(found.header),
        compacted: store.compacted().await?,
        keys,
        bytes: found.db_size_in_use as u64,
        disk_bytes: found.db_size as u64,
        health,
        replication: Some(Replication {
            id: found.header.map_or(0, |header| header.member_id),
            leader: (found.leader != 0).then_some(found.leader),
            term: found.raft_term,
            committed_index: found.raft_index,
            applied_index: found.raft_applied_index,
            cluster_id: found.header.map_or(0, |header| header.cluster_id),
            voters: voters.iter().map(|member| member.id).collect(),
            learners: learners.iter().map(|member| member.id).collect(),
            ..Replication::default()
        }),
        ..StoreStatus::default()
    })
}
