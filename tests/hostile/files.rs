//! Files: its own, the server's, the host's.

use std::{
    fs::{self, File, FileTimes, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{calls::answer, world::World};

fn read(path: impl AsRef<Path>) -> io::Result<()> {
    let text = fs::read(path)?;
    assert!(!text.is_empty());
    Ok(())
}

fn list(path: impl AsRef<Path>) -> io::Result<()> {
    fs::read_dir(path)?.try_for_each(|entry| entry.map(drop))
}

fn written_c(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap()
}

pub fn read_input(world: &World) -> io::Result<()> {
    read(&world.input)?;
    File::open(&world.input)?
        .try_lock_shared()
        .map_err(io::Error::other)
}

/// All that the worker does in its folder.
pub fn work(world: &World) -> io::Result<()> {
    let partial = world.own.join("result.json.partial");
    let mut file = File::create(&partial)?;
    file.write_all(b"{}")?;
    file.sync_all()?;
    file.set_len(1)?;
    fs::rename(partial, world.own.join("result.json"))?;
    File::open(&world.own)?.sync_all()?;
    let folder = world.own.join("baseline");
    fs::create_dir(&folder)?;
    fs::write(folder.join("checkpoint"), b"state")?;
    fs::rename(folder.join("checkpoint"), world.own.join("checkpoint"))?;
    read(world.own.join("checkpoint"))?;
    fs::remove_file(world.own.join("checkpoint"))?;
    fs::remove_dir(folder)?;
    list(&world.own)
}

pub fn about_the_host(_: &World) -> io::Result<()> {
    for path in [
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/self/status",
        "/proc/thread-self/stat",
    ] {
        read(path)?;
    }
    list("/proc/self/task")?;
    list("/sys/devices/system/cpu")?;
    File::open("/dev/urandom")?;
    OpenOptions::new()
        .write(true)
        .open("/dev/null")?
        .write_all(b"nothing")
}

pub fn read_database(world: &World) -> io::Result<()> {
    read(&world.database)
}

pub fn write_database(world: &World) -> io::Result<()> {
    OpenOptions::new().write(true).open(&world.database).map(drop)
}

/// By its name: what is open is another matter.
pub fn truncate_database(world: &World) -> io::Result<()> {
    let path = written_c(&world.database);
    // SAFETY: the path ends with a zero.
    answer(unsafe { libc::truncate(path.as_ptr(), 0) }.into())
}

pub fn remove_database(world: &World) -> io::Result<()> {
    fs::remove_file(&world.database)
}

pub fn replace_database(world: &World) -> io::Result<()> {
    let own = world.own.join("database");
    fs::write(&own, b"mine")?;
    fs::rename(own, &world.database)
}

pub fn chmod_database(world: &World) -> io::Result<()> {
    fs::set_permissions(&world.database, Permissions::from_mode(0o0))
}

pub fn touch_database(world: &World) -> io::Result<()> {
    let path = written_c(&world.database);
    // SAFETY: the path ends with a zero; no times means now.
    answer(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), std::ptr::null(), 0) }.into())
}

pub fn xattr_database(world: &World) -> io::Result<()> {
    let path = written_c(&world.database);
    let value = b"mine";
    // SAFETY: both texts end with a zero, and the value is as long as it is said to be.
    let set = unsafe {
        libc::setxattr(
            path.as_ptr(),
            c"user.owner".as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    answer(set.into())
}

pub fn read_blob(world: &World) -> io::Result<()> {
    read(&world.blob)
}

pub fn list_data(world: &World) -> io::Result<()> {
    list(&world.data)
}

pub fn write_input(world: &World) -> io::Result<()> {
    OpenOptions::new().append(true).open(&world.input).map(drop)
}

/// Through the open file, which needs no right to write it.
pub fn chmod_input(world: &World) -> io::Result<()> {
    let file = File::open(&world.input)?;
    file.set_permissions(Permissions::from_mode(0o0))?;
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))
}

pub fn write_beside(world: &World) -> io::Result<()> {
    fs::write(world.data.join("mine"), b"mine")
}

pub fn over_its_folder(world: &World) -> io::Result<()> {
    read(world.own.join("../finetuned.db"))
}

pub fn over_its_root(world: &World) -> io::Result<()> {
    let root = PathBuf::from("/proc/self/root");
    read(root.join(world.database.strip_prefix("/").unwrap()))
}

pub fn link(world: &World) -> io::Result<()> {
    fs::hard_link(&world.blob, world.own.join("blob"))
}

pub fn symlink(world: &World) -> io::Result<()> {
    std::os::unix::fs::symlink(&world.database, world.own.join("result"))
}

pub fn fifo(world: &World) -> io::Result<()> {
    let path = written_c(&world.own.join("fifo"));
    // SAFETY: the path ends with a zero.
    answer(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }.into())
}

pub fn accounts(_: &World) -> io::Result<()> {
    read("/etc/passwd")
}

pub fn list_root(_: &World) -> io::Result<()> {
    list("/")
}

pub fn list_processes(_: &World) -> io::Result<()> {
    list("/proc")
}

pub fn shared_memory(_: &World) -> io::Result<()> {
    let path = format!("/dev/shm/finetuned-hostile-{}", std::process::id());
    fs::write(&path, b"mine")?;
    fs::remove_file(path)
}

pub fn environment(world: &World) -> io::Result<()> {
    File::open(format!("/proc/{}/environ", world.server)).map(drop)
}

pub fn memory(world: &World) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.open(format!("/proc/{}/mem", world.victim)).map(drop)
}

pub fn open_files(world: &World) -> io::Result<()> {
    list(format!("/proc/{}/fd", world.server))
}
