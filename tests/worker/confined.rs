//! Whether a process has confined itself, as the kernel says it.

use std::fs;

/// A process that has ended and that nobody has waited for yet still says how it was confined. It may be asked while it works, too.
#[track_caller]
pub fn check(process: u32) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let value = |name: &str| {
        let lines = status.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.trim());
        values
            .next()
            .unwrap_or_else(|| panic!("no {name} in {status}"))
            .to_owned()
    };
    assert_eq!(value("NoNewPrivs"), "1", "{status}");
    // Of filters.
    assert_eq!(value("Seccomp"), "2", "{status}");
    // Reading files whoever owns them, at most: `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`.
    let privileges = u64::from_str_radix(&value("CapPrm"), 16).unwrap();
    assert_eq!(privileges & !0b110, 0, "{status}");
}
