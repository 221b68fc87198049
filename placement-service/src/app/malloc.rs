//! Makes glibc return the memory of password hashes to the system. After the first hash, glibc raises its threshold for
//! mmap and keeps such blocks, 19 MiB in the arena of each thread: 400 MiB after two dozen logins.
#![allow(unsafe_code, reason = "mallopt is C")]

/// Allocations of at least this size are mapped from the system, and unmapped when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MMAP_THRESHOLD: libc::c_int = 1024 * 1024;

/// Fixes glibc's threshold for mmap for the rest of the process. Other allocators need no setting.
pub fn set_mmap_threshold() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt sets one parameter of the allocator, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    }
}
