//! Knowledge distillation (Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network").
//!
//! `teachers` are the models that are learned from and what they say of images; `distillation` is the loss that brings the student near them;
//! `report` says what it has brought.

pub mod distillation;
pub mod report;
pub mod teachers;
