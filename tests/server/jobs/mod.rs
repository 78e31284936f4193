//! Jobs of every kind, what they tell while they run, and the children that do their work.

mod adaptation;
mod batch_predict;
mod children;
mod distillation;
mod events;
mod heads;
mod lifecycle;
mod measure;
