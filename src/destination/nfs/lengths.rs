//! Looks over an answer before the client unpacks it: no length in it is longer than what came.
//!
//! The client allocates what a length announces before it reads: 4 GB for a file handle, 16 GB for a list of flavours, which
//! aborts the process where there is no such memory. So the places of all lengths in the answers to our requests are known here
//! (XDR, RFC 4506; RFC 5531 §9; RFC 1813).

use nfs3_client::nfs3_types::mount::{self, MOUNT_PROGRAM};
use nfs3_client::nfs3_types::nfs3::{self, NFS_PROGRAM};

/// RFC 1813 §2.3.3: a file handle.
const MAX_HANDLE_BYTES: u32 = 64;
/// RFC 5531 §8.2: a credential or verifier.
const MAX_AUTH_BYTES: u32 = 400;
/// RFC 1813 §2.6: the attributes of a file.
const ATTRIBUTES_BYTES: usize = 84;

/// What a request asks for: program and procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    program: u32,
    procedure: u32,
}

impl Asked {
    /// Of a whole message as it is sent, its fragment header included.
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        let mut rest = Rest(message);
        // Header, number, direction, version of RPC.
        rest.skip(16)?;
        let program = rest.number()?;
        rest.skip(4)?;
        Some(Asked { program, procedure: rest.number()? })
    }

    /// Whether an answer has what its lengths announce.
    pub(super) fn may_be_answered_by(self, answer: &[u8]) -> bool {
        self.walk(&mut Rest(answer)).is_some()
    }

    fn walk(self, rest: &mut Rest<'_>) -> Option<()> {
        // Number and direction; the rest of a refused request has no length in it.
        rest.skip(8)?;
        if rest.number()? != 0 {
            return Some(());
        }
        rest.skip(4)?;
        rest.opaque(MAX_AUTH_BYTES)?;
        // Neither has that of one that was not carried out, or failed.
        if rest.number()? != 0 {
            return Some(());
        }
        let is = |program: u32, procedure: u32| (self.program, self.procedure) == (program, procedure);
        let of_nfs = |procedure: NFS_PROGRAM| is(nfs3::PROGRAM, procedure as u32);
        if is(mount::PROGRAM, MOUNT_PROGRAM::MOUNTPROC3_MNT as u32) {
            if rest.number()? == 0 {
                rest.opaque(MAX_HANDLE_BYTES)?;
                let flavours = rest.number()?;
                rest.skip(usize::try_from(flavours).ok()?.checked_mul(4)?)?;
            }
        } else if of_nfs(NFS_PROGRAM::NFSPROC3_LOOKUP) {
            if rest.number()? == 0 {
                rest.opaque(MAX_HANDLE_BYTES)?;
            }
        } else if of_nfs(NFS_PROGRAM::NFSPROC3_CREATE) || of_nfs(NFS_PROGRAM::NFSPROC3_MKDIR) {
            if rest.number()? == 0 {
                rest.handle_if_any()?;
            }
        } else if of_nfs(NFS_PROGRAM::NFSPROC3_READ) {
            if rest.number()? == 0 {
                rest.attributes_if_any()?;
                rest.skip(8)?;
                rest.opaque(u32::MAX)?;
            }
        } else if of_nfs(NFS_PROGRAM::NFSPROC3_READDIRPLUS) && rest.number()? == 0 {
            rest.attributes_if_any()?;
            rest.skip(8)?;
            while rest.number()? != 0 {
                rest.skip(8)?;
                rest.opaque(u32::MAX)?;
                rest.skip(8)?;
                rest.attributes_if_any()?;
                rest.handle_if_any()?;
            }
        }
        Some(())
    }
}

/// What is left of a message.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u32> {
        let number = u32::from_be_bytes(*self.0.first_chunk()?);
        self.skip(4)?;
        Some(number)
    }

    fn opaque(&mut self, most: u32) -> Option<()> {
        let bytes = self.number()?;
        (bytes <= most).then_some(())?;
        self.skip(usize::try_from(bytes).ok()?.checked_next_multiple_of(4)?)
    }

    fn attributes_if_any(&mut self) -> Option<()> {
        if self.number()? == 0 { Some(()) } else { self.skip(ATTRIBUTES_BYTES) }
    }

    fn handle_if_any(&mut self) -> Option<()> {
        if self.number()? == 0 { Some(()) } else { self.opaque(MAX_HANDLE_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number, answer, accepted, no verifier, done, OK.
    const HEAD: [u32; 7] = [7, 1, 0, 0, 0, 0, 0];

    fn may(program: u32, procedure: u32, rest: &[u32]) -> bool {
        let answer: Vec<u8> = HEAD.iter().chain(rest).flat_map(|number| number.to_be_bytes()).collect();
        Asked { program, procedure }.may_be_answered_by(&answer)
    }

    #[test]
    fn a_request_tells_what_it_asks() {
        let message: Vec<u8> = [0x8000_0018u32, 7, 0, 2, 100_003, 3, 17].iter().flat_map(|n| n.to_be_bytes()).collect();
        assert_eq!(Asked::of(&message), Some(Asked { program: nfs3::PROGRAM, procedure: 17 }));
        assert_eq!(Asked::of(&message[..20]), None);
    }

    #[test]
    fn lengths_within_the_answer_may_be_and_others_may_not() {
        const HUGE: u32 = 0xFFFF_FFF0;
        let (nfs, mnt) = (nfs3::PROGRAM, mount::PROGRAM);
        // A handle of 8 bytes, one flavour.
        assert!(may(mnt, 1, &[8, 1, 2, 1, 1]));
        assert!(!may(mnt, 1, &[8, 1, 2, HUGE, 1]) && !may(mnt, 1, &[HUGE, 1, 2]));
        // LOOKUP: a handle; READ: no attributes, count, end, 5 bytes and their padding.
        assert!(may(nfs, 3, &[4, 1, 0, 0]) && !may(nfs, 3, &[HUGE, 1]));
        assert!(may(nfs, 6, &[0, 5, 1, 5, 0, 0]) && !may(nfs, 6, &[0, 5, 1, HUGE, 0, 0]));
        // READDIRPLUS: an entry with a name of 3 bytes and nothing about it, then the end.
        let entry = |bytes: u32| [0, 0, 0, 1, 0, 9, bytes, 0, 0, 1, 0, 0, 0, 1];
        assert!(may(nfs, 17, &entry(3)) && !may(nfs, 17, &entry(HUGE)));
        // CREATE: a handle.
        assert!(may(nfs, 8, &[1, 4, 1]) && !may(nfs, 8, &[1, HUGE, 1]));
        // A verifier, whatever was asked.
        let verifier: Vec<u8> = [7u32, 1, 0, 0, HUGE, 0].iter().flat_map(|n| n.to_be_bytes()).collect();
        assert!(!Asked { program: nfs, procedure: 1 }.may_be_answered_by(&verifier));
    }
}
