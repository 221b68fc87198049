//! Tells the allocator to give the memory of password hashes back. glibc learns from the first of them
//! to keep such blocks, 19 MiB in the arena of each thread: 400 MiB after two dozen logins.
#![allow(unsafe_code, reason = "mallopt is C")]

/// Blocks of this size and more come from the system and go back to it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 1024 * 1024;

/// From here on; other allocators than glibc's do so by themselves.
pub fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets one number of the allocator; it may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}
