//! Whether libtorch records what gradients need, by thread.
//!
//! tch's own functions for this put the setting back only where the work returns. Where it panics, as for lack of memory, and the panic is
//! caught ([`super::fault::caught`]), the thread would go on with the wrong one: steps without gradients.

/// Works without recording, whatever the thread does around it.
pub fn without_gradients<T>(work: impl FnOnce() -> T) -> T {
    let _restored = tch::no_grad_guard();
    work()
}

/// Works with recording, whatever the thread does around it.
pub fn with_gradients<T>(work: impl FnOnce() -> T) -> T {
    let _restored = tch::no_grad_guard();
    #[expect(clippy::disallowed_methods, reason = "the guard puts the setting back")]
    tch::with_grad(work)
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::worker::fault;

    /// Whether a product of a parameter has a gradient here.
    fn records() -> bool {
        let parameter = Tensor::from(2f32).set_requires_grad(true);
        (&parameter * 3.0).requires_grad()
    }

    #[test]
    fn a_failure_inside_leaves_the_setting_as_it_was() {
        assert!(records());
        let failed = fault::caught(|| without_gradients::<()>(|| panic!("not enough memory")));
        assert!(failed.is_err() && records());
        without_gradients(|| {
            let failed = fault::caught(|| with_gradients::<()>(|| panic!("not enough memory")));
            assert!(failed.is_err() && !records());
            assert!(with_gradients(records) && !records());
        });
        assert!(records());
    }
}
