//! A job in the terminal: a progress bar with the loss curve if it is a terminal, and a plain line per epoch in any case.
//!
//! Lines go to standard output, the bar to standard error, and only if standard error is a terminal.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    api::Failure,
    curve::Losses,
    output::Output,
    text::{duration, number, percent, printable},
};
use crate::domain::jobs::{
    event::{EndEvent, EpochEvent, LogEvent, RewindEvent, StatusEvent, StepEvent, WarningEvent},
    job::{Job, JobStatus, Progress},
};

const CURVE_COLUMNS: usize = 60;
const CURVE_ROWS: usize = 8;
/// A replay delivers thousands of events at once; redrawing more often than this would not be visible.
const REDRAW: Duration = Duration::from_millis(100);

/// What is displayed of a job.
pub struct JobView<'a> {
    output: &'a mut Output,
    bar: ProgressBar,
    name: String,
    epochs: u32,
    losses: Losses,
    images_per_second: Option<f64>,
    /// Seconds left, and when that was known.
    remaining: Option<(f64, Instant)>,
    best: Option<EpochEvent>,
    drawn: Option<Instant>,
}

impl<'a> JobView<'a> {
    pub fn new(job: &Job, output: &'a mut Output) -> Self {
        let target = if stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {prefix}"));
        bar.set_prefix(job.status.as_str());
        bar.enable_steady_tick(Duration::from_millis(120));
        let mut view = Self {
            output,
            bar,
            name: job.name.to_string(),
            epochs: job.spec.training().map_or(1, |spec| spec.epochs),
            losses: Losses::default(),
            images_per_second: None,
            remaining: None,
            best: None,
            drawn: None,
        };
        if let Some(progress) = &job.progress {
            view.progress(progress);
        }
        view
    }

    /// The server's estimate of the remaining work.
    pub fn progress(&mut self, progress: &Progress) {
        if self.bar.length().is_none() {
            self.bar
                .set_style(style("{msg}\n{bar:24} {percent:>3} %  {prefix}"));
        }
        self.epochs = progress.epochs;
        self.bar.set_length(progress.steps);
        self.remaining = progress.eta_seconds.map(|seconds| (seconds, Instant::now()));
    }

    /// Progress of a job without losses.
    pub fn progressed(&mut self, progress: &Progress) {
        self.progress(progress);
        self.bar.set_position(progress.step);
        let left = self.seconds_left();
        self.bar.set_prefix(
            left.map(|seconds| format!("{} left", duration(seconds)))
                .unwrap_or_default(),
        );
    }

    pub fn status(&mut self, event: &StatusEvent) -> Result<(), Failure> {
        let mut text = event.status.as_str().to_owned();
        if let (JobStatus::Running, Some(device)) = (event.status, &event.device) {
            text = format!("running on {}", printable(device));
        }
        if event.attempt > 1 {
            text = format!("{text}, attempt {}", event.attempt);
        }
        if let Some(reason) = &event.reason {
            text = format!("{text} ({})", printable(reason));
        }
        self.bar.set_prefix(text.clone());
        // The final line is printed by the last event.
        if event.status.is_end() {
            return Ok(());
        }
        self.line(&text)
    }

    pub fn step(&mut self, event: &StepEvent) {
        self.losses.add_train(event.step, event.train_loss);
        self.images_per_second = Some(event.images_per_second);
        if self.bar.is_hidden() || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        self.bar.set_position(event.step);
        self.bar
            .set_prefix(step_line(event, self.epochs, self.seconds_left()));
        if let Some(lines) = self.losses.draw(CURVE_COLUMNS, CURVE_ROWS) {
            self.bar.set_message(lines.join("\n"));
        }
    }

    pub fn epoch(&mut self, event: &EpochEvent) -> Result<(), Failure> {
        if let Some(loss) = event.val_loss {
            self.losses.add_validation(event.step, loss);
        }
        if event.best {
            self.best = Some(event.clone());
        }
        let text = epoch_line(event, self.epochs, self.images_per_second, self.seconds_left());
        self.line(&text)
    }

    pub fn rewind(&mut self, event: &RewindEvent) -> Result<(), Failure> {
        self.losses.rewind(event.to_step);
        self.best = self.best.take().filter(|best| best.step <= event.to_step);
        self.remaining = None;
        self.line(&format!("resuming from step {}", event.to_step))
    }

    pub fn log(&mut self, event: &LogEvent) -> Result<(), Failure> {
        self.line(&printable(&event.message))
    }

    pub fn warning(&mut self, event: &WarningEvent) -> Result<(), Failure> {
        self.line(&format!("warning: {}", printable(&event.message)))
    }

    /// The connection is lost for now.
    pub fn lost(&mut self, pause: Duration) {
        let text = format!("connection lost; retrying in {}", duration(pause.as_secs_f64()));
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Prints the curve and the outcome.
    pub fn end(mut self, event: &EndEvent) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        for line in self.losses.draw(CURVE_COLUMNS, CURVE_ROWS).into_iter().flatten() {
            self.line(&line)?;
        }
        let text = end_line(event, self.best.as_ref());
        self.line(&text)?;
        if event.model.is_some() {
            eprintln!("  try it:  finetuned predict {} IMAGE", printable(&self.name));
        }
        Ok(())
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        let output = &mut *self.output;
        self.bar.suspend(|| output.line(text))
    }

    fn seconds_left(&self) -> Option<f64> {
        let (seconds, when) = self.remaining?;
        Some((seconds - when.elapsed().as_secs_f64()).max(0.0))
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn step_line(event: &StepEvent, epochs: u32, seconds_left: Option<f64>) -> String {
    let mut parts = vec![
        format!("epoch {}/{epochs}", event.epoch),
        format!("loss {}", number(event.train_loss)),
        format!("{:.0} img/s", event.images_per_second),
    ];
    parts.extend(seconds_left.map(|seconds| format!("{} left", duration(seconds))));
    parts.join("  ")
}

fn epoch_line(event: &EpochEvent, epochs: u32, speed: Option<f64>, seconds_left: Option<f64>) -> String {
    let width = epochs.to_string().len();
    let mut parts = vec![
        format!("epoch {:>width$}/{epochs}", event.epoch),
        format!("loss {}", number(event.train_loss)),
    ];
    parts.extend(
        event
            .train_accuracy
            .map(|share| format!("accuracy {}", percent(share))),
    );
    parts.extend(
        event
            .knn_accuracy
            .map(|share| format!("nearest neighbours {}", percent(share))),
    );
    parts.extend(
        event
            .val_loss
            .map(|loss| format!("validation loss {}", number(loss))),
    );
    parts.extend(
        event
            .val_accuracy
            .map(|share| format!("accuracy {}", percent(share))),
    );
    parts.extend(speed.map(|speed| format!("{speed:.0} img/s")));
    parts.push(duration(event.seconds));
    if event.epoch < epochs {
        parts.extend(seconds_left.map(|seconds| format!("{} left", duration(seconds))));
    }
    if event.best {
        parts.push("best so far".to_owned());
    }
    parts.join("  ")
}

fn end_line(event: &EndEvent, best: Option<&EpochEvent>) -> String {
    let mut text = event.status.as_str().to_owned();
    if let Some(error) = &event.error {
        let code = serde_json::to_value(error.code).unwrap_or_default();
        let code = code.as_str().unwrap_or("unknown").to_owned();
        text = format!("{text} ({code}): {}", printable(&error.message));
    }
    if let Some(model) = &event.model {
        text = format!("{text}: model {model}");
        let accuracy = best.and_then(|best| Some((best.epoch, best.val_accuracy?)));
        if let Some((epoch, share)) = accuracy {
            text = format!(
                "{text}, best epoch {epoch}, validation accuracy {}",
                percent(share)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        id::ModelId,
        jobs::job::{FailureCode, JobError},
    };

    fn epoch(number: u32) -> EpochEvent {
        EpochEvent {
            epoch: number,
            step: 8,
            train_loss: 0.4213,
            train_accuracy: Some(0.881),
            val_loss: Some(0.398),
            val_accuracy: Some(0.9123),
            val_map: None,
            lr: Some(0.01),
            l2: None,
            alignment_loss: None,
            distillation_loss: None,
            knn_accuracy: None,
            feature_spread: None,
            seconds: 4.12,
            data_wait: 0.1,
            best: true,
        }
    }

    #[test]
    fn an_epoch_is_one_line() {
        assert_eq!(
            epoch_line(&epoch(3), 10, Some(1830.5), Some(29.0)),
            "epoch  3/10  loss 0.421  accuracy 88.1 %  validation loss 0.398  accuracy 91.2 %  1830 img/s  4.1 s  29 s left  best so far"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let bare = EpochEvent {
            val_loss: None,
            val_accuracy: None,
            best: false,
            ..epoch(1)
        };
        assert_eq!(
            epoch_line(&bare, 1, None, Some(3.0)),
            "epoch 1/1  loss 0.421  accuracy 88.1 %  4.1 s"
        );
    }

    #[test]
    fn an_end_says_what_came_of_it() {
        let model = ModelId::new();
        let succeeded = EndEvent {
            status: JobStatus::Succeeded,
            model: Some(model),
            error: None,
        };
        assert_eq!(
            end_line(&succeeded, Some(&epoch(7))),
            format!("succeeded: model {model}, best epoch 7, validation accuracy 91.2 %")
        );
        let failed = EndEvent {
            status: JobStatus::Failed,
            model: None,
            error: Some(JobError {
                code: FailureCode::OutOfMemory,
                message: "use a smaller batch\u{1b}[2J".into(),
            }),
        };
        assert_eq!(
            end_line(&failed, None),
            "failed (out_of_memory): use a smaller batch\u{fffd}[2J"
        );
    }
}
