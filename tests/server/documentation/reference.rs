//! `/docs`, without a browser: what the browser test cannot see.

use reqwest::{Method, header};

use crate::support::Server;

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_is_served_from_the_program_alone() {
    let server = Server::start().await;
    let api = &server.api;
    for (asked, page) in [("/docs", "docs/index.html"), ("/docs/", "index.html")] {
        let found = api.get(asked).await.expect(303);
        assert_eq!(found.headers[header::LOCATION], page, "{asked}");
    }
    let page = api.get("/docs/index.html").await.expect(200);
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    for outside in ["http://", "https://", "src=\"//"] {
        assert!(!page.text.contains(outside), "{}", page.text);
    }
    let start = api.get("/docs/swagger-initializer.js").await.expect(200);
    assert!(start.text.contains("../openapi.json"), "{}", start.text);
    api.get("/docs/nothing.js").await.problem(404, "not-found");

    // Compressed only for those who can read it.
    let bundle = |encoding: &'static str| {
        let request = api.request(Method::GET, "/docs/swagger-ui-bundle.js");
        request.header(header::ACCEPT_ENCODING, encoding).send()
    };
    let (packed, plain) = (bundle("gzip").await.unwrap(), bundle("identity").await.unwrap());
    assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(plain.headers().get(header::CONTENT_ENCODING), None);
    let (packed, plain) = (packed.bytes().await.unwrap(), plain.bytes().await.unwrap());
    assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() * 2 < plain.len());
    assert!(std::str::from_utf8(&plain).unwrap().contains("SwaggerUI"));
    server.stop().await;
}
