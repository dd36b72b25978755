//! Pseudo terminals, without blocking.

use std::{
    fs::OpenOptions,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    pin::Pin,
    task::{Context, Poll, ready},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

use crate::TerminalSize;

/// The side of a terminal that shows what is written to it, and types.
pub(super) struct Master(AsyncFd<OwnedFd>);

/// Makes a terminal: the master, and the side for a process.
pub(super) fn open() -> io::Result<(Master, OwnedFd)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname_r(&master)?;
    // The standard library opens with O_CLOEXEC.
    let slave = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name)?;
    Ok((Master::new(master.into())?, slave.into()))
}

impl Master {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` always gives the same descriptor, and keeps it open as long as it lives, which is as
        // long as the registration does: nothing takes it out.
        #[expect(unsafe_code, reason = "the safe constructor is deprecated in favour of this one")]
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Self(registered?))
    }

    /// Another handle of the same terminal.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Self::new(self.0.get_ref().try_clone()?)
    }

    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let size = libc::winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is open, and the pointer is to a value of the type that this request reads.
        #[expect(unsafe_code, reason = "nix has no call for it")]
        match unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsyncRead for Master {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            match guard.try_io(|fd| nix::unistd::read(fd.get_ref(), unfilled).map_err(io::Error::from)) {
                Ok(Ok(read)) => buf.advance(read),
                // Linux's way to say that the last process of the terminal has closed it.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => continue,
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Master {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(written) = guard.try_io(|fd| nix::unistd::write(fd.get_ref(), buf).map_err(io::Error::from)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
