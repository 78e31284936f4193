//! For tests only: a layer between SQLite and its files (a VFS, https://www.sqlite.org/vfs.html) that makes chosen writes and syncs fail.
//!
//! It stands before SQLite's own layer for every database of the test program and passes everything on, except below folders that a
//! test has named.

use std::{
    ffi::{CStr, c_int, c_void},
    path::{Path, PathBuf},
    ptr,
    sync::{Mutex, OnceLock, PoisonError},
};

use libsqlite3_sys::{
    SQLITE_OK, sqlite3_file, sqlite3_filename, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
    sqlite3_vfs_find, sqlite3_vfs_register,
};

pub const FULL: c_int = libsqlite3_sys::SQLITE_FULL;
pub const WRITE_FAILS: c_int = libsqlite3_sys::SQLITE_IOERR_WRITE;
pub const SYNC_FAILS: c_int = libsqlite3_sys::SQLITE_IOERR_FSYNC;
pub const NO_MEMORY: c_int = libsqlite3_sys::SQLITE_IOERR_NOMEM;

/// A folder whose databases fail on demand. To be made before they are opened.
pub struct FaultyDisk(PathBuf);

struct Fault {
    folder: PathBuf,
    code: c_int,
    /// Writes and syncs that still succeed; after them all fail.
    passing: u32,
    failed: bool,
}

static FAULTS: Mutex<Vec<Fault>> = Mutex::new(Vec::new());

impl FaultyDisk {
    pub fn below(folder: &Path) -> Self {
        register();
        Self(folder.to_owned())
    }

    /// From now on every write and sync fails in this way, after so many that pass.
    pub fn fail(&self, code: c_int, passing: u32) {
        self.mend();
        faults().push(Fault {
            folder: self.0.clone(),
            code,
            passing,
            failed: false,
        });
    }

    /// Everything works again. Whether anything has failed.
    pub fn mend(&self) -> bool {
        let mut faults = faults();
        let failed = faults.iter().any(|fault| fault.folder == self.0 && fault.failed);
        faults.retain(|fault| fault.folder != self.0);
        failed
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        self.mend();
    }
}

fn faults() -> std::sync::MutexGuard<'static, Vec<Fault>> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of a write to, or a sync of, this file.
fn verdict(path: &Path) -> c_int {
    for fault in faults()
        .iter_mut()
        .filter(|fault| path.starts_with(&fault.folder))
    {
        match fault.passing.checked_sub(1) {
            Some(left) => fault.passing = left,
            None => {
                fault.failed = true;
                return fault.code;
            }
        }
    }
    SQLITE_OK
}

/// SQLite allocates one for each open file; its own layer's follows it in memory.
#[repr(C)]
struct File {
    base: sqlite3_file,
    /// None for a temporary file without a name.
    path: Option<Box<Path>>,
}

struct Layer(*mut sqlite3_vfs);

// SAFETY: SQLite's own layer is registered for the life of the process and may be used from any thread.
unsafe impl Send for Layer {}
// SAFETY: as above.
unsafe impl Sync for Layer {}

static REAL: OnceLock<Layer> = OnceLock::new();

fn register() {
    REAL.get_or_init(|| {
        // SAFETY: a null name asks for the default layer, which is there in every build of SQLite. The copy is leaked on purpose: SQLite
        // keeps the pointer.
        unsafe {
            let real = sqlite3_vfs_find(ptr::null());
            let mut ours = Box::new(*real);
            ours.zName = c"faulty".as_ptr();
            ours.pNext = ptr::null_mut();
            ours.szOsFile = size_of::<File>() as c_int + (*real).szOsFile;
            ours.xOpen = Some(open);
            assert_eq!(sqlite3_vfs_register(Box::into_raw(ours), 1), SQLITE_OK);
            Layer(real)
        }
    });
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // Without the methods of version 3, for memory-mapped reading.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

// SAFETY, for everything below: SQLite calls these with a file that `open` has filled, or, for `open`, with `szOsFile` bytes of memory of
// its own; they pass their other arguments on as they are. SQLite's own layer sets the methods that are called here in every file.

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    unsafe {
        let real = REAL.get().map_or(ptr::null_mut(), |layer| layer.0);
        let outcome = (*real).xOpen.unwrap()(real, name, below(file), flags, out_flags);
        let opened = !(*below(file)).pMethods.is_null();
        let path = (!name.is_null() && opened)
            .then(|| Path::new(CStr::from_ptr(name).to_str().unwrap_or_default()).into());
        ptr::write(
            file.cast::<File>(),
            File {
                base: sqlite3_file {
                    pMethods: if opened { &METHODS } else { ptr::null() },
                },
                path,
            },
        );
        outcome
    }
}

/// The file of SQLite's own layer.
unsafe fn below(file: *mut sqlite3_file) -> *mut sqlite3_file {
    unsafe { file.cast::<u8>().add(size_of::<File>()).cast() }
}

/// Calls a method of SQLite's own layer.
macro_rules! pass_on {
    ($method:ident, $file:ident $(, $argument:expr)*) => {
        unsafe {
            let real = below($file);
            (*(*real).pMethods).$method.unwrap()(real $(, $argument)*)
        }
    };
}

unsafe fn fails(file: *mut sqlite3_file) -> Option<c_int> {
    let path = unsafe { (*file.cast::<File>()).path.as_deref() };
    Some(path.map_or(SQLITE_OK, verdict)).filter(|code| *code != SQLITE_OK)
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let outcome = pass_on!(xClose, file);
    unsafe { (*file.cast::<File>()).path = None };
    outcome
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    at: sqlite3_int64,
) -> c_int {
    pass_on!(xRead, file, to, bytes, at)
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    at: sqlite3_int64,
) -> c_int {
    match unsafe { fails(file) } {
        Some(code) => code,
        None => pass_on!(xWrite, file, from, bytes, at),
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, bytes: sqlite3_int64) -> c_int {
    pass_on!(xTruncate, file, bytes)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    match unsafe { fails(file) } {
        Some(code) => code,
        None => pass_on!(xSync, file, flags),
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, bytes: *mut sqlite3_int64) -> c_int {
    pass_on!(xFileSize, file, bytes)
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass_on!(xLock, file, level)
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass_on!(xUnlock, file, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, held: *mut c_int) -> c_int {
    pass_on!(xCheckReservedLock, file, held)
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    pass_on!(xFileControl, file, what, argument)
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    pass_on!(xSectorSize, file)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    pass_on!(xDeviceCharacteristics, file)
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    page: c_int,
    bytes: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    pass_on!(xShmMap, file, page, bytes, extend, memory)
}

unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    pass_on!(xShmLock, file, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    pass_on!(xShmBarrier, file);
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    pass_on!(xShmUnmap, file, delete)
}
