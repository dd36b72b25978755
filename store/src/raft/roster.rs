//! Who the members are. Part of what is replicated, so that all replicas agree on names, addresses and numbers.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

use crate::codec::{Decoder, Reason, put_bytes, put_number};
use crate::membership::refusal;
use crate::{Error, Member, MemberChange, Members};

/// The first number that no member may have: a session has 16 bits for it.
pub(crate) const ID_END: u64 = 1 << 16;
/// Far more than makes sense for a majority.
pub(crate) const MEMBERS_MAX: usize = 64;
const URLS_MAX: usize = 16;
const TEXT_MAX: usize = 2048;

const ADD: u8 = 1;
const PROMOTE: u8 = 2;
const REMOVE: u8 = 3;
const MOVE_PEER: u8 = 4;
const ANNOUNCE: u8 = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) cluster_id: u64,
    /// The number of the next member; below it numbers were used.
    next_id: u64,
    members: BTreeMap<u64, Member>,
}

impl Roster {
    /// The members that a new cluster starts with. Its number follows from them and the token.
    pub(crate) fn founded(members: &[Member], token: &str) -> Self {
        let members: BTreeMap<u64, Member> = members.iter().map(|member| (member.id, member.clone())).collect();
        let next_id = members.keys().next_back().map_or(1, |last| last + 1);
        let mut founded = Self { cluster_id: 0, next_id, members };
        let mut bytes = token.as_bytes().to_vec();
        founded.encode(&mut bytes);
        // FNV-1a: it must be the same everywhere, and differ between clusters that meet by mistake.
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        founded.cluster_id = hash.max(1);
        founded
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Whether this was a member once, and is none any more.
    pub(crate) fn was_removed(&self, id: u64) -> bool {
        id < self.next_id && !self.members.contains_key(&id)
    }

    pub(crate) fn conf_state(&self) -> ConfState {
        let ids = |learner: bool| -> Vec<u64> {
            self.members.values().filter(|member| member.is_learner == learner).map(|member| member.id).collect()
        };
        ConfState::from((ids(false), ids(true)))
    }

    /// The changes with numbers for those that are added.
    pub(crate) fn numbered(&self, mut changes: Vec<MemberChange>) -> Vec<MemberChange> {
        let mut next = self.next_id;
        for change in &mut changes {
            if let MemberChange::Add(member) = change {
                member.id = next;
                next += 1;
            }
        }
        changes
    }

    /// Makes the changes, all or none.
    pub(crate) fn apply(&mut self, changes: &[MemberChange]) -> Result<(), Error> {
        let mut changed = self.clone();
        let mut touched = BTreeSet::new();
        for change in changes {
            let id = changed.apply_one(change)?;
            if !touched.insert(id) {
                return Err(Error::invalid(format!("member {id} is changed twice at once")));
            }
        }
        if changes.is_empty() {
            return Err(Error::invalid("no change of members was given"));
        }
        if !changed.members.values().any(|member| !member.is_learner) {
            return Err(Error::invalid("at least one member must be left that votes"));
        }
        *self = changed;
        Ok(())
    }

    fn apply_one(&mut self, change: &MemberChange) -> Result<u64, Error> {
        match change {
            MemberChange::Add(member) => {
                if member.id != self.next_id {
                    let reason = "another member was added at the same time; ask again".to_owned();
                    return Err(Error::Refused { reason });
                }
                if self.members.len() >= MEMBERS_MAX || member.id >= ID_END {
                    return Err(Error::invalid("the cluster has as many members as it can have"));
                }
                self.check_urls(member.id, &member.peer_urls)?;
                check_texts(&member.client_urls, &member.name)?;
                self.next_id += 1;
                self.members.insert(member.id, member.clone());
                return Ok(member.id);
            }
            MemberChange::Promote(id) => {
                let member = self.find(*id)?;
                if !member.is_learner {
                    return Err(Error::invalid("only a learner can be promoted"));
                }
                member.is_learner = false;
            }
            MemberChange::Remove(id) => {
                self.find(*id)?;
                self.members.remove(id);
            }
            MemberChange::MovePeer { id, peer_urls } => {
                self.check_urls(*id, peer_urls)?;
                self.find(*id)?.peer_urls.clone_from(peer_urls);
            }
            MemberChange::Announce { id, name, client_urls } => {
                check_texts(client_urls, name)?;
                let member = self.find(*id)?;
                member.name.clone_from(name);
                member.client_urls.clone_from(client_urls);
            }
        }
        Ok(id_of(change))
    }

    fn find(&mut self, id: u64) -> Result<&mut Member, Error> {
        self.members.get_mut(&id).ok_or(Error::MemberNotFound { member: id })
    }

    fn check_urls(&self, id: u64, urls: &[String]) -> Result<(), Error> {
        check_texts(urls, "")?;
        let others = self.members.values().filter(|member| member.id != id);
        if let Some(other) = others.into_iter().find(|other| other.peer_urls.iter().any(|url| urls.contains(url))) {
            let reason = format!("{}: member {} is reached there", refusal::URL_IS_TAKEN, other.id);
            return Err(Error::Refused { reason });
        }
        Ok(())
    }

    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        put_number(to, self.cluster_id);
        put_number(to, self.next_id);
        put_number(to, self.members.len() as u64);
        self.members.values().for_each(|member| put_member(to, member));
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, Reason> {
        let (cluster_id, next_id) = (from.number()?, from.number()?);
        let mut members = BTreeMap::new();
        for _ in 0..from.count(5)? {
            let member = member(from)?;
            if member.id == 0 || member.id >= next_id || next_id > ID_END {
                return Err("a member whose number was never given");
            }
            members.insert(member.id, member);
        }
        Ok(Self { cluster_id, next_id, members })
    }
}

fn check_texts(urls: &[String], name: &str) -> Result<(), Error> {
    if urls.len() > URLS_MAX || urls.iter().any(|url| url.len() > TEXT_MAX) || name.len() > TEXT_MAX {
        return Err(Error::invalid(format!("a member has at most {URLS_MAX} urls of {TEXT_MAX} bytes each")));
    }
    Ok(())
}

/// The member that a change is about.
pub(crate) const fn id_of(change: &MemberChange) -> u64 {
    match change {
        MemberChange::Add(member) => member.id,
        MemberChange::Promote(id)
        | MemberChange::Remove(id)
        | MemberChange::MovePeer { id, .. }
        | MemberChange::Announce { id, .. } => *id,
    }
}

/// What raft must know of the changes; `None` if nobody comes, goes or begins to vote.
pub(crate) fn conf_change(changes: &[MemberChange]) -> Option<ConfChangeV2> {
    let single = |change: &MemberChange| {
        let kind = match change {
            MemberChange::Add(member) if member.is_learner => ConfChangeType::AddLearnerNode,
            MemberChange::Add(_) | MemberChange::Promote(_) => ConfChangeType::AddNode,
            MemberChange::Remove(_) => ConfChangeType::RemoveNode,
            MemberChange::MovePeer { .. } | MemberChange::Announce { .. } => return None,
        };
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = id_of(change);
        Some(single)
    };
    let singles: Vec<ConfChangeSingle> = changes.iter().filter_map(single).collect();
    if singles.is_empty() {
        return None;
    }
    let mut change = ConfChangeV2::default();
    change.set_transition(ConfChangeTransition::Implicit);
    change.set_changes(singles.into());
    Some(change)
}

pub(crate) fn put_changes(to: &mut Vec<u8>, changes: &[MemberChange]) {
    put_number(to, changes.len() as u64);
    for change in changes {
        match change {
            MemberChange::Add(member) => {
                to.push(ADD);
                put_member(to, member);
            }
            MemberChange::Promote(id) => {
                to.push(PROMOTE);
                put_number(to, *id);
            }
            MemberChange::Remove(id) => {
                to.push(REMOVE);
                put_number(to, *id);
            }
            MemberChange::MovePeer { id, peer_urls } => {
                to.push(MOVE_PEER);
                put_number(to, *id);
                put_texts(to, peer_urls);
            }
            MemberChange::Announce { id, name, client_urls } => {
                to.push(ANNOUNCE);
                put_number(to, *id);
                put_bytes(to, name.as_bytes());
                put_texts(to, client_urls);
            }
        }
    }
}

pub(crate) fn changes(from: &mut Decoder<'_>) -> Result<Vec<MemberChange>, Reason> {
    (0..from.count(2)?).map(|_| change(from)).collect()
}

fn change(from: &mut Decoder<'_>) -> Result<MemberChange, Reason> {
    Ok(match from.byte()? {
        ADD => MemberChange::Add(member(from)?),
        PROMOTE => MemberChange::Promote(from.number()?),
        REMOVE => MemberChange::Remove(from.number()?),
        MOVE_PEER => MemberChange::MovePeer { id: from.number()?, peer_urls: texts(from)? },
        ANNOUNCE => MemberChange::Announce { id: from.number()?, name: text(from)?, client_urls: texts(from)? },
        _ => return Err("unknown change of members"),
    })
}

/// All members, as whoever wants to join is told of them.
pub(crate) fn put_members(to: &mut Vec<u8>, members: &Members) {
    put_number(to, members.cluster_id);
    put_number(to, members.answered_by);
    put_number(to, members.members.len() as u64);
    members.members.iter().for_each(|member| put_member(to, member));
}

pub(crate) fn members(from: &mut Decoder<'_>) -> Result<Members, Reason> {
    let (cluster_id, answered_by) = (from.number()?, from.number()?);
    let members = (0..from.count(5)?).map(|_| member(from)).collect::<Result<_, _>>()?;
    Ok(Members::new(cluster_id, answered_by, None, members))
}

fn put_member(to: &mut Vec<u8>, member: &Member) {
    put_number(to, member.id);
    to.push(u8::from(member.is_learner));
    put_bytes(to, member.name.as_bytes());
    put_texts(to, &member.peer_urls);
    put_texts(to, &member.client_urls);
}

fn member(from: &mut Decoder<'_>) -> Result<Member, Reason> {
    Ok(Member {
        id: from.number()?,
        is_learner: from.byte()? != 0,
        name: text(from)?,
        peer_urls: texts(from)?,
        client_urls: texts(from)?,
    })
}

fn put_texts(to: &mut Vec<u8>, texts: &[String]) {
    put_number(to, texts.len() as u64);
    texts.iter().for_each(|text| put_bytes(to, text.as_bytes()));
}

fn texts(from: &mut Decoder<'_>) -> Result<Vec<String>, Reason> {
    (0..from.count(1)?).map(|_| text(from)).collect()
}

pub(crate) fn text(from: &mut Decoder<'_>) -> Result<String, Reason> {
    String::from_utf8(from.slice()?.to_vec()).map_err(|_| "a text that is not utf-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster() -> Roster {
        let url = |n: u64| format!("https://n{n}:2380");
        let members: Vec<Member> = (1..=3).map(|n| Member::voter(n).named(format!("n{n}")).peer_url(url(n))).collect();
        Roster::founded(&members, "token")
    }

    #[test]
    fn numbers_are_given_once() {
        let mut roster = roster();
        let added = roster.numbered(vec![MemberChange::Add(Member::default()), MemberChange::Remove(2)]);
        roster.apply(&added).expect("sound");
        assert!(roster.get(4).is_some() && roster.was_removed(2) && !roster.was_removed(5));
        roster.apply(&[MemberChange::Remove(4)]).expect("sound");
        let again = roster.numbered(vec![MemberChange::Add(Member::default().learner())]);
        assert_eq!(again, [MemberChange::Add(Member::voter(5).learner())]);
        assert!(matches!(roster.apply(&added), Err(Error::Refused { .. })), "numbered from an older roster");
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let mut roster = roster();
        let before = roster.clone();
        let taken = roster.get(1).expect("there").peer_urls.clone();
        for wrong in [
            vec![],
            vec![MemberChange::Promote(9)],
            vec![MemberChange::Promote(1)],
            vec![MemberChange::Remove(1), MemberChange::Remove(1)],
            vec![MemberChange::Remove(1), MemberChange::Remove(2), MemberChange::Remove(3)],
            vec![MemberChange::MovePeer { id: 2, peer_urls: taken.clone() }],
            roster.numbered(vec![MemberChange::Add(Member { peer_urls: taken, ..Member::default() })]),
        ] {
            assert!(roster.apply(&wrong).is_err(), "{wrong:?}");
            assert_eq!(roster, before);
        }
    }

    #[test]
    fn rosters_and_changes_come_back_from_bytes() {
        let mut bytes = Vec::new();
        roster().encode(&mut bytes);
        assert_eq!(Roster::decode(&mut Decoder::new(&bytes)), Ok(roster()));
        let told = Members::new(7, 2, None, roster().members().cloned().collect());
        let mut bytes = Vec::new();
        put_members(&mut bytes, &told);
        assert_eq!(members(&mut Decoder::new(&bytes)), Ok(told));
        let all = vec![
            MemberChange::Add(Member::voter(4).named("n4").peer_url("https://n4").learner()),
            MemberChange::Promote(4),
            MemberChange::Remove(1),
            MemberChange::MovePeer { id: 2, peer_urls: vec!["https://other".to_owned()] },
            MemberChange::Announce { id: 2, name: "two".to_owned(), client_urls: vec!["https://c".to_owned()] },
        ];
        let mut bytes = Vec::new();
        put_changes(&mut bytes, &all);
        assert_eq!(changes(&mut Decoder::new(&bytes)), Ok(all));
        for cut in 0..bytes.len() {
            assert!(changes(&mut Decoder::new(&bytes[..cut])).is_err());
        }
    }

    #[test]
    fn clusters_have_numbers_of_their_own() {
        let members = [Member::voter(1)];
        let ids = [Roster::founded(&members, "a"), Roster::founded(&members, "b"), roster()].map(|r| r.cluster_id);
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] == Roster::founded(&members, "a").cluster_id);
    }
}
