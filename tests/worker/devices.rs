//! `finetuned-worker devices`, and that the binary starts by itself.

use finetuned::protocol::Device;

use crate::child::Worker;

#[test]
fn devices_are_printed_as_json_and_the_processor_is_among_them() {
    let (lines, status, errors) = Worker::with_lines(["devices"]).end();
    assert!(status.success(), "{errors}");
    let devices: Vec<Device> = serde_json::from_str(&lines.concat()).unwrap();
    let cpu = devices.last().unwrap();
    assert_eq!(cpu.name, "cpu");
    assert!(cpu.threads > 0 && cpu.memory_bytes > 0);
}

#[test]
fn a_device_that_is_not_there_is_refused_in_one_line() {
    let (said, status, errors) = Worker::with_frames(["predict", "--device", "cuda:99"]).end();
    assert_eq!(status.code(), Some(70));
    assert!(
        said.is_empty(),
        "a child that cannot work never says that it is ready"
    );
    assert!(errors.contains("cuda:99"), "{errors}");
    assert_eq!(errors.trim().lines().count(), 1, "{errors}");
}
