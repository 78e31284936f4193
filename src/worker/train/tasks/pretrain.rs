//! A job of kind `pretrain`: a backbone learns from images without their labels. It is a training with another loss (see
//! [`crate::worker::train::transfer::pretraining`]) whose model has no head.

use crate::{
    protocol::{PretrainRun, TrainResult},
    worker::{
        process::{
            child::{Reporter, StopFlag},
            run_dir::RunDir,
        },
        train::{input::data, progress::halt::Halt, publish, session::Session, setup},
    },
};

pub fn pretrain(
    run: &PretrainRun,
    dir: &RunDir,
    reporter: &Reporter,
    stop: &StopFlag,
) -> Result<TrainResult, Halt> {
    let train = &*setup::described(&run.train, reporter, stop)?;
    let data = data::read_for_pretraining(&train.common.dataset, &train.spec.split)?;
    setup::warn_of_few_images(train, &data, reporter);
    let context = setup::context_of(train, data, dir, reporter, stop)?;
    let start = setup::start(train, &context, reporter, stop)?;
    let outcome = Session::new(train, &context, dir, reporter, stop, start).train()?;
    publish::publish_backbone(&run.spec, train, &context, dir, outcome)
}
