//! What a request presents, as its headers say it: a key in `Authorization`, sessions in `Cookie`. Whether they are good is a matter of
//! [`super::credentials`].

use axum::http::{HeaderMap, header};

use crate::domain::access::InvalidSecret;

/// What the header `Authorization: Bearer` says. Another scheme is a matter of the proxy in front.
///
/// # Errors
/// It is there twice, or is no text.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, InvalidSecret> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(InvalidSecret::Form);
    }
    let text = value.to_str().map_err(|_| InvalidSecret::Form)?.trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start()))
}

/// The values of the cookies of this name.
pub fn cookies<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let jars = headers.get_all(header::COOKIE).iter();
    let pairs = jars.flat_map(|jar| jar.to_str().unwrap_or("").split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_key_is_a_bearer_token_and_other_schemes_are_the_proxys() {
        let of = |values: &[&'static str]| {
            let headers = headers(header::AUTHORIZATION, values);
            bearer(&headers).map(|token| token.map(str::to_owned))
        };
        assert_eq!(of(&["Bearer ft_1"]), Ok(Some("ft_1".to_owned())));
        assert_eq!(of(&["bearer   ft_1 "]), Ok(Some("ft_1".to_owned())));
        assert_eq!(of(&["Bearer"]), Ok(Some(String::new())));
        assert_eq!(of(&["Basic YTpi"]), Ok(None));
        assert_eq!(of(&[]), Ok(None));
        let malformed = Err(InvalidSecret::Form);
        assert_eq!(of(&["Bearer ft_1", "Bearer ft_2"]), malformed);
    }

    #[test]
    fn cookies_of_a_name_are_found_among_others() {
        let headers = headers(
            header::COOKIE,
            &["a=1; session=x", "session=y;b=2; sessions=z; session"],
        );
        let found: Vec<&str> = cookies(&headers, "session").collect();
        assert_eq!(found, ["x", "y"]);
    }
}
