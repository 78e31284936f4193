//! What a person has before them: the three commands, the client's commands, the dashboard, and both programs as files.

mod commands;
mod dashboard;
mod programs;
mod story;
mod weights;
