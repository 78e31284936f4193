//! Jobs of every kind, what they tell while they run, and the children that do their work.

mod adaptation;
mod adapters;
mod batch_predict;
mod children;
mod confined;
mod distillation;
mod events;
mod heads;
mod label_check;
mod lifecycle;
mod lost_device;
mod measure;
mod mlflow;
mod pretrain;
mod several_labels;
mod several_tasks;
mod tensorboard;
