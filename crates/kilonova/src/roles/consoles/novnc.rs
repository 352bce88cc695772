//! noVNC as it was built into this binary (`build.rs`), or not.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

include!(concat!(env!("OUT_DIR"), "/novnc.rs"));

/// One of its files.
pub(super) async fn file(uri: Uri) -> Response {
    let name = uri.path().trim_start_matches('/');
    match FILES.binary_search_by_key(&name, |(name, _)| name) {
        Ok(at) => ([(header::CONTENT_TYPE, content_type(name))], FILES[at].1).into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

fn content_type(name: &str) -> &'static str {
    if name.ends_with(".js") { "text/javascript" } else { "text/plain; charset=utf-8" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_built_in_is_found_and_nothing_else() {
        assert!(FILES.is_sorted());
        for (name, _) in FILES {
            assert_eq!(file(format!("/{name}").parse().unwrap()).await.status(), StatusCode::OK);
        }
        assert_eq!(file("/core/../Cargo.toml".parse().unwrap()).await.status(), StatusCode::NOT_FOUND);
    }
}
