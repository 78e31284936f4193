//! What each `POST` does with an `Idempotency-Key`: a row for each, and no default.

use axum::http::Method;

/// What a repeat under the same key gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The answer of the first request.
    SameAnswer,
    /// 409, and the address of what the first request made: its answer has a secret, which is shown once.
    AnswerNotKept,
    /// The job of the first request, which was made together with the key.
    OfItsJob,
    /// What it would get without the header: the request computes something or logs in, and changes nothing that is kept.
    Again,
}

/// By the templates of their paths, as the router has them.
pub const POSTS: &[(&str, Repeat)] = &[
    ("/v1/datasets", Repeat::SameAnswer),
    ("/v1/datasets/{dataset}/images", Repeat::SameAnswer),
    ("/v1/datasets/{dataset}/split", Repeat::SameAnswer),
    ("/v1/datasets/{dataset}/reread", Repeat::SameAnswer),
    ("/v1/datasets/{dataset}/label_check/apply", Repeat::SameAnswer),
    ("/v1/datasets/{dataset}/preview", Repeat::Again),
    ("/v1/uploads", Repeat::SameAnswer),
    ("/v1/uploads/{upload}", Repeat::SameAnswer),
    ("/v1/jobs", Repeat::OfItsJob),
    ("/v1/jobs/{job}/cancel", Repeat::SameAnswer),
    ("/v1/models", Repeat::SameAnswer),
    ("/v1/models/{model}/predict", Repeat::Again),
    ("/v1/models/{model}/embeddings", Repeat::Again),
    ("/v1/models/{model}/explain", Repeat::Again),
    ("/v1/models/{model}", Repeat::Again),
    ("/v1/models/{model}/versions/{version}", Repeat::Again),
    ("/v1/aliases/{alias}/rollback", Repeat::SameAnswer),
    ("/predictions/{model}", Repeat::Again),
    ("/predictions/{model}/{version}", Repeat::Again),
    ("/v2/models/{model}/infer", Repeat::Again),
    ("/v2/models/{model}/versions/{version}/infer", Repeat::Again),
    ("/v1/keys", Repeat::AnswerNotKept),
    ("/v1/webhooks", Repeat::AnswerNotKept),
    ("/v1/webhooks/{webhook}/secret", Repeat::AnswerNotKept),
    ("/v1/webhooks/{webhook}/test", Repeat::SameAnswer),
    ("/v1/session", Repeat::Again),
];

/// What a request does with the header; none where its method is another one.
pub fn repeat_of(method: &Method, path: &str) -> Option<Repeat> {
    let of_this_path = |(of, _): &&(&str, Repeat)| *of == path;
    let found = POSTS.iter().find(of_this_path).filter(|_| method == Method::POST);
    found.map(|(_, repeat)| *repeat)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::access::rules::RULES;

    #[test]
    fn every_post_has_a_row() {
        let rows: BTreeSet<&str> = POSTS.iter().map(|(path, _)| *path).collect();
        let posts = RULES.iter().filter(|rule| rule.method == "POST");
        assert_eq!(rows, posts.map(|rule| rule.path).collect());
        assert_eq!(rows.len(), POSTS.len(), "a row is there twice");
    }

    /// Whoever adds one that changes something cannot forget it: the table of rights knows.
    #[test]
    fn what_changes_something_is_not_carried_out_again() {
        for rule in RULES
            .iter()
            .filter(|rule| rule.method == "POST" && rule.path != "/v1/session")
        {
            let repeated = repeat_of(&Method::POST, rule.path) == Some(Repeat::Again);
            assert_ne!(repeated, rule.changes_something(), "{rule:?}");
        }
    }
}
