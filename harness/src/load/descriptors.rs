//! How many files and connections a process may have open at once, of which every caller takes one.
//!
//! A system gives processes fewer than it would let them have. The process that attacks takes as many as
//! it may; what is not enough even then is told before the first request.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the process that attacks has open beside the connections of its callers, and some to spare.
const BESIDES: u64 = 64;

/// More callers than may have a connection each.
///
/// Messages are lowercase fragments, made to follow "gauntlet: ".
#[derive(Debug, thiserror::Error)]
#[error(
    "{callers} callers have as many connections, and a process may have {most} files open on this \
     machine; take at most {} callers, or have that limit raised (`ulimit -Hn`)",
    most.saturating_sub(BESIDES)
)]
pub struct TooMany {
    callers: u32,
    most: u64,
}

/// Whether so many callers can have a connection each. What the system does not tell is no reason to
/// refuse them.
///
/// # Errors
///
/// When they cannot.
pub fn suffice_for(callers: u32) -> Result<(), TooMany> {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, most)) => are_enough(callers, most),
        Err(_) => Ok(()),
    }
}

fn are_enough(callers: u32, most: u64) -> Result<(), TooMany> {
    match u64::from(callers).saturating_add(BESIDES) <= most {
        true => Ok(()),
        false => Err(TooMany { callers, most }),
    }
}

/// Lets this process have as many open as the system would let it have.
///
/// # Errors
///
/// What the system says.
pub fn raise() -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_cannot_have_a_connection_each_are_told_how_many_can() {
        assert!(are_enough(960, 1_024).is_ok());
        insta::assert_snapshot!(
            are_enough(961, 1_024).unwrap_err(),
            @"961 callers have as many connections, and a process may have 1024 files open on this machine; take at most 960 callers, or have that limit raised (`ulimit -Hn`)"
        );
        assert!(are_enough(u32::MAX, u64::MAX).is_ok());
    }

    #[test]
    fn a_process_takes_as_many_as_it_may() {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most / 2, most).unwrap();
        raise().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (most, most));
    }
}
