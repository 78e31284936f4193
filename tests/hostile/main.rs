//! A child that has been taken over: what it can still do once it has confined itself as the worker does, by the same function.
//!
//! This program plays all parts. Without arguments it is the server: it has a secret in its environment, a database, listens on sockets, and
//! starts itself as a child, once for each act, with a sandbox and without one. An act that a sandbox is to prevent must succeed without one:
//! otherwise it would prove nothing. `cargo test --test hostile NAME` runs the acts whose names contain that.
//!
//! A child must be a process of its own with one thread, and the harness of other tests runs each of them in a thread.

mod acts;
mod calls;
mod files;
mod processes;
mod sockets;
mod world;

use std::{
    env,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitCode, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use finetuned::process::sandbox::{self, Mode, Policy, Support};

use self::{
    acts::{ACTS, Act, By, End},
    world::{Stage, World},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Exit status of a child that was refused something.
const REFUSED: i32 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["act", name, mode, world] => act(name, mode, &World::read(world)),
        ["confine"] => {
            let begun = Instant::now();
            sandbox::enter(Mode::Auto, &Policy::default()).unwrap();
            println!("{}", begun.elapsed().as_micros());
            ExitCode::SUCCESS
        }
        ["victim"] => {
            println!("here");
            thread::sleep(PATIENCE);
            ExitCode::SUCCESS
        }
        // For programs that list tests.
        _ if arguments.iter().any(|argument| argument == "--list") => ExitCode::SUCCESS,
        _ => serve(filter(&arguments)),
    }
}

/// The part of a name that is asked for, among options of the usual harness.
fn filter(arguments: &[String]) -> Option<&String> {
    const WITH_VALUE: [&str; 4] = ["--color", "--format", "--skip", "--test-threads"];
    let mut before = "";
    arguments.iter().find(|argument| {
        let is_value = WITH_VALUE.contains(&before);
        before = argument;
        !is_value && !argument.starts_with('-')
    })
}

/// The child.
fn act(name: &str, mode: &str, world: &World) -> ExitCode {
    let act = ACTS.iter().find(|act| act.name == name).expect("it is an act");
    let mode: Mode = mode.parse().unwrap();
    let policy = Policy {
        read: vec![world.input.clone()],
        write: vec![world.own.clone()],
        ..Policy::default()
    };
    if act.after_fetching {
        let fetching = Policy {
            network: true,
            ..policy.clone()
        };
        sandbox::enter(mode, &fetching).unwrap();
        sockets::connect(world).expect("who fetches has a network");
    }
    sandbox::enter(mode, &policy).unwrap();
    // As a decoder would, on a thread that was started afterwards.
    let outcome = match act.on_a_thread {
        true => thread::scope(|scope| scope.spawn(|| (act.play)(world)).join().unwrap()),
        false => (act.play)(world),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(REFUSED as u8)
        }
    }
}

/// The server: stages each act and compares its end with what it is to be.
fn serve(only: Option<&String>) -> ExitCode {
    let support = Support::of_this_kernel();
    for missing in &support.missing {
        println!("this kernel: {missing}");
    }
    let strict = match support.complete() {
        Ok(()) => Mode::Require,
        Err(_) => Mode::Auto,
    };
    let offered = |by: By| match by {
        By::Landlock(version) => support.landlock_abi >= version,
        By::Seccomp => support.seccomp,
        By::Either => support.seccomp || support.landlock_abi > 0,
        By::Nobody => true,
    };
    let wanted = ACTS
        .iter()
        .filter(|act| only.is_none_or(|only| act.name.contains(only.as_str())));
    let (mut failed, mut played) = (0, 0);
    for act in wanted {
        if !offered(act.by) {
            println!("act {} ... skipped: this kernel cannot prevent it", act.name);
            continue;
        }
        played += 1;
        let outcome = without(act).and_then(|()| within(act, strict));
        match outcome {
            Ok(how) => println!("act {} ... ok ({how})", act.name),
            Err(why) => {
                failed += 1;
                println!("act {} ... FAILED: {why}", act.name);
            }
        }
    }
    println!(
        "\n{played} acts, {failed} failed; a child confines itself in {} µs",
        microseconds()
    );
    ExitCode::from(u8::from(failed > 0))
}

/// How long that takes, the median of some.
fn microseconds() -> u64 {
    let time = |_| {
        let output = Command::new(env::current_exe().unwrap())
            .arg("confine")
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse::<u64>()
            .unwrap()
    };
    let mut times: Vec<_> = (0..11).map(time).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn without(act: &Act) -> Result<(), String> {
    if act.needs_privileges {
        return Ok(());
    }
    let output = play(act, Mode::Off);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("it fails without a sandbox, too: {}", told(&output))),
    }
}

fn within(act: &Act, strict: Mode) -> Result<String, String> {
    let output = play(act, strict);
    let told = told(&output);
    let as_it_should = match act.end {
        End::Done => output.status.success(),
        End::Refused => output.status.code() == Some(REFUSED),
        End::Killed => output.status.signal() == Some(libc::SIGSYS),
    };
    match as_it_should {
        true => Ok(told),
        false => Err(format!("it was to be {:?}, but: {told}", act.end)),
    }
}

fn play(act: &Act, mode: Mode) -> Output {
    let stage = Stage::new();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["act", act.name, mode.name(), &stage.world.written()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the act {} does not end", act.name);
        }
        thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    stage.strike();
    output
}

fn told(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).trim().replace('\n', " / ");
    match output.status.code() {
        Some(0) => "done".to_owned(),
        Some(REFUSED) => text,
        _ => format!("{} {text}", output.status),
    }
}
