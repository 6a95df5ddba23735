//! Who is at the other end of the Unix socket, by the kernel's word, and whether they may write.

use super::Refused;
use axum::http::StatusCode;
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use std::ffi::CString;
use std::io;
use tokio::net::UnixStream;

/// Members of this group may write.
pub const GROUP: &str = "skala";

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    uid: u32,
    gid: u32,
}

impl Peer {
    /// Asks the kernel who connected.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), gid: credentials.gid() })
    }

    /// The name that goes with what they do.
    pub(super) fn name(self) -> String {
        match User::from_uid(Uid::from_raw(self.uid)) {
            Ok(Some(user)) => user.name,
            _ => format!("uid {}", self.uid),
        }
    }

    /// Root, the daemon's own user, and members of the group may write. The groups are looked up at each write, so that
    /// somebody added to the group need not wait for a restart.
    pub(super) fn may_write(self) -> Result<(), Refused> {
        let group = Group::from_name(GROUP).ok().flatten().map(|group| group.gid);
        if may_write(self, geteuid(), group, |gid| is_member(self.uid, gid)) {
            return Ok(());
        }
        let text = format!(
            "{} may read but not write: that takes root, the daemon's own user, or a member of the group `{GROUP}`{}",
            self.name(),
            if group.is_none() { ", which this machine does not have" } else { "" },
        );
        Err(Refused::new(StatusCode::FORBIDDEN, text))
    }
}

fn may_write(peer: Peer, own: Uid, group: Option<Gid>, is_member: impl Fn(Gid) -> bool) -> bool {
    let in_group = || group.is_some_and(|gid| gid.as_raw() == peer.gid || is_member(gid));
    peer.uid == 0 || peer.uid == own.as_raw() || in_group()
}

fn is_member(uid: u32, gid: Gid) -> bool {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_the_group_may_write() {
        let (own, group) = (Uid::from_raw(990), Some(Gid::from_raw(991)));
        let check = |uid, gid, group, member, expect| {
            let peer = Peer { uid, gid };
            assert_eq!(may_write(peer, own, group, |_| member), expect, "{peer:?} {group:?} {member}");
        };
        check(0, 0, group, false, true);
        check(990, 990, group, false, true);
        check(1000, 991, group, false, true);
        check(1000, 1000, group, true, true);
        check(1000, 1000, group, false, false);
        // Without the group nobody is in it, whatever the look-up would say.
        check(1000, 1000, None, true, false);
    }
}
