//! `SlowDisk`: a file system (FUSE) whose writes take their time, and which keeps the
//! sizes of its files and not their content.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyCreate, ReplyEmpty,
    ReplyEntry, ReplyWrite, Request,
};
use rustix::io::Errno;

use crate::Result;

/// The time of each write. The kernel hands over at most 128 KiB at once (it has big
/// writes since FUSE 7.10; without, a page), so a gibibyte takes 16 seconds or more.
const WRITE: Duration = Duration::from_millis(2);

/// For how long the kernel may remember what it was told.
const FRESH: Duration = Duration::from_secs(1);

/// The inode of the directory.
const ROOT: u64 = 1;

/// A slow file system at a directory, until it is dropped.
pub(crate) struct SlowDisk {
    _session: BackgroundSession,
}

impl SlowDisk {
    /// Mounts one.
    ///
    /// # Errors
    ///
    /// The system does not let us: it has no FUSE, or this is not root.
    pub(crate) fn mount(at: &Path) -> Result<Self> {
        let options = [MountOption::FSName("slow".into()), MountOption::RW];
        let session = fuser::spawn_mount2(Files::default(), at, &options)
            .map_err(|error| format!("a slow disk cannot be mounted: {error}"))?;
        Ok(Self { _session: session })
    }
}

/// The files, by name, and their sizes by inode.
#[derive(Default)]
struct Files {
    names: BTreeMap<OsString, u64>,
    sizes: BTreeMap<u64, u64>,
    last: u64,
}

impl Files {
    fn attributes(&self, inode: u64) -> FileAttr {
        let is_root = inode == ROOT;
        FileAttr {
            ino: inode,
            size: self.sizes.get(&inode).copied().unwrap_or(0),
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_root { FileType::Directory } else { FileType::RegularFile },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Files {
    fn lookup(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEntry) {
        match self.names.get(name) {
            Some(inode) => reply.entry(&FRESH, &self.attributes(*inode), 0),
            None => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&FRESH, &self.attributes(inode));
    }

    fn create(&mut self, _: &Request<'_>, _: u64, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        self.last = self.last.max(ROOT) + 1;
        self.names.insert(name.to_owned(), self.last);
        self.sizes.insert(self.last, 0);
        reply.created(&FRESH, &self.attributes(self.last), 0, 0, 0);
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        sleep(WRITE);
        let end = offset.unsigned_abs() + data.len() as u64;
        let size = self.sizes.entry(inode).or_default();
        *size = end.max(*size);
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        _: u64,
        name: &OsStr,
        _: u64,
        to: &OsStr,
        _: u32,
        reply: ReplyEmpty,
    ) {
        match self.names.remove(name) {
            Some(inode) => {
                self.names.insert(to.to_owned(), inode);
                reply.ok();
            }
            None => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn unlink(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEmpty) {
        if let Some(inode) = self.names.remove(name)
            && !self.names.values().any(|other| *other == inode)
        {
            self.sizes.remove(&inode);
        }
        reply.ok();
    }

    fn link(&mut self, _: &Request<'_>, inode: u64, _: u64, name: &OsStr, reply: ReplyEntry) {
        self.names.insert(name.to_owned(), inode);
        reply.entry(&FRESH, &self.attributes(inode), 0);
    }
}
