//! CPU time and resident memory of processes, from /proc.

use std::fs;

/// Ticks of utime and stime per second: USER_HZ, which is 100 on every Linux that Rust supports (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of a process group. Each child of the harness has its own group.
#[must_use]
pub fn group_cpu(group: u32) -> f64 {
    group_members(group).iter().map(Stat::seconds).sum()
}

/// CPU seconds of this process.
#[must_use]
pub fn own_cpu() -> f64 {
    Stat::read("self").map_or(0.0, |stat| stat.seconds())
}

/// Resident memory of a process group in KiB.
#[must_use]
pub fn group_rss(group: u32) -> f64 {
    let rss = |stat: &Stat| {
        let status = fs::read_to_string(format!("/proc/{}/status", stat.pid)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    group_members(group).iter().filter_map(rss).sum()
}

fn group_members(group: u32) -> Vec<Stat> {
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    all.filter_map(Result::ok)
        .filter_map(|entry| Stat::read(entry.file_name().to_str()?))
        .filter(|stat| stat.group == group)
        .collect()
}

/// The fields of /proc/PID/stat that are used.
#[derive(Debug, PartialEq)]
struct Stat {
    pid: u32,
    group: u32,
    ticks: f64,
}

impl Stat {
    fn read(pid: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields are counted after the second one, a name in parentheses, because the name can contain any character.
    fn parse(text: &str) -> Option<Self> {
        let pid = text.split(' ').next()?.parse().ok()?;
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            pid,
            group: fields.get(2)?.parse().ok()?,
            ticks: ticks(11)? + ticks(12)?,
        })
    }

    fn seconds(&self) -> f64 {
        self.ticks / TICKS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_stat_line_are_read_after_the_name() {
        let line = "42 (a ) b) S 1 40 40 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 1 0 5 6 7";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                pid: 42,
                group: 40,
                ticks: 200.0
            }
        );
        assert!((stat.seconds() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn this_process_has_memory_and_cpu_time() {
        let own_stat = Stat::read("self").unwrap();
        assert!(group_rss(own_stat.group) > 100.0);
        assert!(group_cpu(own_stat.group) >= own_cpu() * 0.5);
    }
}
