//! The permission to connect to a guest's console, which a proxy asks for.

use chrono::{DateTime, Utc};
use uuid::Uuid;

crate::versioned_object! {
    /// Who has `token` may connect to `host` and `port` until `expires`.
    ConsoleAuthToken, "ConsoleAuthToken", "1.3", {
        [lazy] id: i64,
        /// `novnc`, `spice-html5`, `spice-direct`, `serial`, `webmks`.
        console_type: String,
        host: String,
        port: i64,
        [lazy] tls_port: Option<i64>,
        [lazy] internal_access_path: Option<String>,
        instance_uuid: Uuid,
        /// Where a user's client goes; the token is added to it.
        [lazy] access_url_base: Option<String>,
        /// Only its hash is stored.
        [lazy] token: String,
        /// Seconds since 1970.
        [lazy] expires: i64,
        [lazy] created_at: Option<DateTime<Utc>>,
        [lazy] updated_at: Option<DateTime<Utc>>,
    }
}

impl ConsoleAuthToken {
    /// Where a user's client goes, with the token: for noVNC inside of its parameter `path`, which is where it looks.
    pub fn access_url(&self) -> String {
        let base = self.access_url_base.as_deref().unwrap_or_default();
        if self.console_type != "novnc" {
            return format!("{base}?token={}", self.token);
        }
        let (page, query) = base.split_once('?').unwrap_or((base, ""));
        let (path, mut others): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|pair| !pair.is_empty()).partition(|pair| pair.starts_with("path="));
        let path = path.first().and_then(|pair| pair.strip_prefix("path=")).unwrap_or_default();
        let path = format!("path={path}%3Ftoken%3D{}", self.token);
        others.push(&path);
        format!("{page}?{}", others.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(console_type: &str, base: &str) -> String {
        let token = ConsoleAuthToken {
            console_type: console_type.to_owned(),
            access_url_base: Some(base.to_owned()),
            token: "t".to_owned(),
            ..ConsoleAuthToken::default()
        };
        token.access_url()
    }

    #[test]
    fn the_token_is_where_each_client_looks_for_it() {
        assert_eq!(url("serial", "ws://h:6083/"), "ws://h:6083/?token=t");
        assert_eq!(url("spice-html5", "http://h:6082/spice_auto.html"), "http://h:6082/spice_auto.html?token=t");
        assert_eq!(url("novnc", "http://h:6080/vnc_auto.html"), "http://h:6080/vnc_auto.html?path=%3Ftoken%3Dt");
        let base = "http://h:6080/vnc_lite.html?path=websockify&encrypt=1";
        assert_eq!(url("novnc", base), "http://h:6080/vnc_lite.html?encrypt=1&path=websockify%3Ftoken%3Dt");
    }
}
