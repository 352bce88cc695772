//! What `nova.conf` says about a service: the option names of keystoneauth, which every OpenStack service shares.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kilonova_core::{Config, ConfigError};
use reqwest::Url;
use serde_json::{Value, json};

/// `[keystone_authtoken]`: the credentials that a section has which names none of its own.
pub(super) const FALLBACK_SECTION: &str = "keystone_authtoken";
/// Seconds that a request may take, and that a transfer may stand still.
const DEFAULT_TIMEOUT_S: f64 = 60.0;
const DEFAULT_RETRIES: u32 = 3;
const DEFAULT_RETRY_DELAY_S: f64 = 0.5;

/// Options of a service that are missing or make no sense.
#[derive(Debug, thiserror::Error)]
pub enum HttpConfigError {
    /// One option.
    #[error("[{section}] {option}: {reason}")]
    Option {
        /// Section.
        section: String,
        /// Option.
        option: &'static str,
        /// What is wrong with it; never the value of a secret.
        reason: String,
    },
    /// The directory for downloads cannot be used.
    #[error("the directory {} for images cannot be used", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value of the wrong type.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A password or a token: not to be seen in any output.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// A user or a project: by id, or by a name in a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Id(String),
    InDomain { name: String, domain: Domain },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Domain {
    Id(String),
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Project(Name),
    Domain(Domain),
    System,
}

/// Who a service is, and where it logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Ends in `/v3`.
    pub(super) auth_url: Url,
    user: Name,
    password: Secret,
    scope: Scope,
}

impl Credentials {
    /// Those of a section; those of `auth_section` if it names one, and those of `[keystone_authtoken]` if it has none.
    pub(super) fn from_config(config: &Config, section: &str) -> Result<Self, HttpConfigError> {
        let section = match config.get(section, "auth_section") {
            Some(other) => other,
            None if has_own(config, section) => section.to_owned(),
            None => FALLBACK_SECTION.to_owned(),
        };
        Section { config, name: &section }.credentials()
    }

    /// The body of `POST /v3/auth/tokens`.
    pub(super) fn request(&self) -> Value {
        let mut user = self.user.to_json();
        user["password"] = json!(self.password.0);
        let scope = match &self.scope {
            Scope::Project(project) => json!({"project": project.to_json()}),
            Scope::Domain(domain) => json!({"domain": domain.to_json()}),
            Scope::System => json!({"system": {"all": true}}),
        };
        json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}})
    }
}

impl Name {
    fn to_json(&self) -> Value {
        match self {
            Self::Id(id) => json!({"id": id}),
            Self::InDomain { name, domain } => json!({"name": name, "domain": domain.to_json()}),
        }
    }
}

impl Domain {
    fn to_json(&self) -> Value {
        match self {
            Self::Id(id) => json!({"id": id}),
            Self::Name(name) => json!({"name": name}),
        }
    }
}

/// How connections of a section are made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Transport {
    pub(super) section: String,
    pub(super) cafile: Option<PathBuf>,
    pub(super) certfile: Option<PathBuf>,
    pub(super) keyfile: Option<PathBuf>,
    pub(super) insecure: bool,
    pub(super) timeout: Duration,
}

impl Transport {
    pub(super) fn from_config(config: &Config, section: &str) -> Result<Self, HttpConfigError> {
        let at = Section { config, name: section };
        let path = |option: &'static str| at.text(option).map(PathBuf::from);
        let timeout = at.number("timeout", DEFAULT_TIMEOUT_S)?;
        if !(timeout > 0.0 && timeout <= 86_400.0) {
            return Err(at.wrong("timeout", "must be a number of seconds above 0, at most a day"));
        }
        let (certfile, keyfile) = (path("certfile"), path("keyfile"));
        if certfile.is_none() && keyfile.is_some() {
            return Err(at.wrong("certfile", "is required where there is a keyfile"));
        }
        Ok(Self {
            section: section.to_owned(),
            cafile: path("cafile"),
            certfile,
            keyfile,
            insecure: config.flag(section, "insecure", false)?,
            timeout: Duration::from_secs_f64(timeout),
        })
    }

    /// Whether connections are made in the same way.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        Self { section: other.section.clone(), ..self.clone() } == *other
    }
}

/// Where a service is and how often it is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Access {
    /// Types that the catalog may have it under, best first.
    pub(super) service_types: Vec<String>,
    pub(super) service_name: Option<String>,
    /// Best first.
    pub(super) interfaces: Vec<String>,
    pub(super) region: Option<String>,
    /// Where the section says that the service is, each as good as the others; empty: the catalog knows.
    pub(super) endpoints: Vec<Url>,
    pub(super) retries: Retries,
}

/// How often, and after how long at first; each wait is twice the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Retries {
    /// When no connection comes about.
    pub(super) connect: u32,
    pub(super) connect_delay: Duration,
    /// When the service answers 503 to what may be repeated.
    pub(super) status_code: u32,
    pub(super) status_code_delay: Duration,
}

impl Access {
    /// `[cinder]`, whose options are older than keystoneauth's: `catalog_info`, `endpoint_template`, `os_region_name`.
    pub(super) fn of_cinder(config: &Config) -> Result<Self, HttpConfigError> {
        let at = Section { config, name: "cinder" };
        let info = at.text("catalog_info").unwrap_or_else(|| "volumev3::publicURL".to_owned());
        let parts: Vec<&str> = info.splitn(3, ':').map(str::trim).collect();
        let [service_type, name, interface] = parts[..] else {
            return Err(at.wrong("catalog_info", "must be <service type>:<service name>:<endpoint type>"));
        };
        // keystoneauth takes the one for the other.
        let mut service_types = vec![service_type.to_owned()];
        if service_type == "volumev3" {
            service_types.push("block-storage".to_owned());
        }
        Ok(Self {
            service_types,
            service_name: (!name.is_empty()).then(|| name.to_owned()),
            interfaces: vec![interface.to_owned()],
            region: at.text("os_region_name"),
            endpoints: at.url("endpoint_template")?.into_iter().collect(),
            ..Self::from_config(config, "cinder", service_type, Some("http_retries"))?
        })
    }

    /// `retries_option` is Nova's own name for the number of retries, where the section has one.
    pub(super) fn from_config(
        config: &Config,
        section: &str,
        service_type: &str,
        retries_option: Option<&'static str>,
    ) -> Result<Self, HttpConfigError> {
        let at = Section { config, name: section };
        let default_retries = retries_option.map_or(Ok(DEFAULT_RETRIES), |name| at.number(name, DEFAULT_RETRIES))?;
        Ok(Self {
            service_types: vec![at.text("service_type").unwrap_or_else(|| service_type.to_owned())],
            service_name: at.text("service_name"),
            interfaces: config.list(section, "valid_interfaces", &["internal", "public"]),
            region: at.text("region_name"),
            endpoints: at.url("endpoint_override")?.into_iter().collect(),
            retries: Retries {
                connect: at.number("connect_retries", default_retries)?,
                connect_delay: at.seconds("connect_retry_delay")?,
                status_code: at.number("status_code_retries", default_retries)?,
                status_code_delay: at.seconds("status_code_retry_delay")?,
            },
        })
    }
}

/// The URLs of an option that lists servers.
pub(super) fn servers(config: &Config, section: &str, option: &'static str) -> Result<Vec<Url>, HttpConfigError> {
    let at = Section { config, name: section };
    config.list(section, option, &[]).iter().map(|text| at.parse_url(option, text)).collect()
}

/// Whether a section has credentials of its own.
fn has_own(config: &Config, section: &str) -> bool {
    ["auth_type", "auth_url", "username", "user_id", "password"].iter().any(|name| config.get(section, name).is_some())
}

/// One section of the configuration.
struct Section<'a> {
    config: &'a Config,
    name: &'a str,
}

impl Section<'_> {
    fn wrong(&self, option: &'static str, reason: impl Into<String>) -> HttpConfigError {
        HttpConfigError::Option { section: self.name.to_owned(), option, reason: reason.into() }
    }

    /// The value, if there is one; an empty one is none.
    fn text(&self, option: &'static str) -> Option<String> {
        self.config.get(self.name, option).filter(|value| !value.trim().is_empty())
    }

    fn number<T: FromStr>(&self, option: &'static str, default: T) -> Result<T, HttpConfigError> {
        Ok(self.config.parse(self.name, option, default)?)
    }

    fn seconds(&self, option: &'static str) -> Result<Duration, HttpConfigError> {
        let seconds = self.number(option, DEFAULT_RETRY_DELAY_S)?;
        if !(0.0..=60.0).contains(&seconds) {
            return Err(self.wrong(option, "must be a number of seconds from 0 to 60"));
        }
        Ok(Duration::from_secs_f64(seconds))
    }

    fn url(&self, option: &'static str) -> Result<Option<Url>, HttpConfigError> {
        self.text(option).map(|text| self.parse_url(option, &text)).transpose()
    }

    fn parse_url(&self, option: &'static str, text: &str) -> Result<Url, HttpConfigError> {
        let url = Url::parse(text.trim()).map_err(|error| self.wrong(option, format!("is no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(self.wrong(option, "must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.wrong(option, "must not hold a user or a password"));
        }
        Ok(url)
    }

    fn credentials(&self) -> Result<Credentials, HttpConfigError> {
        match self.text("auth_type").as_deref() {
            Some("password" | "v3password") => {}
            None => return Err(self.wrong("auth_type", "is required; it must be password")),
            Some(other) => return Err(self.wrong("auth_type", format!("{other:?} is not supported, password is"))),
        }
        let auth_url = self.url("auth_url")?.ok_or_else(|| self.wrong("auth_url", "is required"))?;
        let password = self.config.get(self.name, "password").filter(|password| !password.is_empty());
        Ok(Credentials {
            auth_url: versioned(auth_url, "v3"),
            user: self.user()?,
            password: Secret(password.ok_or_else(|| self.wrong("password", "is required"))?),
            scope: self.scope()?,
        })
    }

    fn user(&self) -> Result<Name, HttpConfigError> {
        match (self.text("user_id"), self.text("username")) {
            (Some(id), _) => Ok(Name::Id(id)),
            (None, Some(name)) => {
                let domain = self.domain("user_domain_id", "user_domain_name");
                let domain = domain.ok_or_else(|| self.wrong("user_domain_name", "is required with a username"))?;
                Ok(Name::InDomain { name, domain })
            }
            (None, None) => Err(self.wrong("username", "is required")),
        }
    }

    fn scope(&self) -> Result<Scope, HttpConfigError> {
        match (self.text("project_id"), self.text("project_name"), self.text("system_scope")) {
            (Some(id), _, _) => Ok(Scope::Project(Name::Id(id))),
            (None, Some(name), _) => {
                let domain = self.domain("project_domain_id", "project_domain_name");
                let domain =
                    domain.ok_or_else(|| self.wrong("project_domain_name", "is required with a project_name"))?;
                Ok(Scope::Project(Name::InDomain { name, domain }))
            }
            (None, None, Some(scope)) if scope == "all" => Ok(Scope::System),
            (None, None, Some(_)) => Err(self.wrong("system_scope", "must be all")),
            (None, None, None) => match (self.text("domain_id"), self.text("domain_name")) {
                (Some(id), _) => Ok(Scope::Domain(Domain::Id(id))),
                (None, Some(name)) => Ok(Scope::Domain(Domain::Name(name))),
                (None, None) => Err(self.wrong("project_name", "is required")),
            },
        }
    }

    fn domain(&self, id: &'static str, name: &'static str) -> Option<Domain> {
        let own = self.text(id).map(Domain::Id).or_else(|| self.text(name).map(Domain::Name));
        let default = || self.text("default_domain_id").map(Domain::Id);
        own.or_else(default).or_else(|| self.text("default_domain_name").map(Domain::Name))
    }
}

/// The URL with `version` as its last segment, in place of another version that it may end in.
pub(super) fn versioned(url: Url, version: &str) -> Url {
    let mut url = unversioned(url);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.push(version);
    }
    url
}

/// The URL of a project at a service that has one per project: `…/v3/<project id>`. A URL that ends in the version is
/// every project's. Without a `project_id` what the URL names stays, unless it is a place for one: `%(project_id)s`.
pub(super) fn of_project(mut url: Url, version: &str, project_id: Option<&str>) -> Url {
    let segments: Vec<String> =
        url.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    let at_version = segments.iter().rposition(|segment| segment == version);
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
        match at_version.map(|at| &segments[at + 1..]) {
            None => {
                path.push(version);
            }
            Some([named]) => match project_id {
                Some(project_id) => {
                    path.pop().push(project_id);
                }
                None if named.starts_with("%(") => {
                    path.pop();
                }
                None => {}
            },
            Some(_) => {}
        }
    }
    url
}

/// The URL without a slash or a version like `v2.0` at its end.
pub(super) fn unversioned(mut url: Url) -> Url {
    let is_version = |segment: &str| {
        segment
            .strip_prefix('v')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    };
    let last = url.path_segments().and_then(|mut segments| segments.rfind(|segment| !segment.is_empty()));
    let ends_in_version = last.is_some_and(is_version);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        if ends_in_version {
            segments.pop();
        }
    }
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "
        auth_type = password
        auth_url = https://keystone:5000/identity/
        username = nova
        password = pass$$word
        project_name = service
        user_domain_name = Default
        project_domain_id = default
    ";

    fn config(section: &str, more: &str) -> Config {
        Config::from_text(&format!("[{section}]\n{}\n{}", lines(FULL), lines(more))).unwrap()
    }

    fn lines(text: &str) -> String {
        text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
    }

    fn refusal(text: &str) -> String {
        Credentials::from_config(&Config::from_text(&lines(text)).unwrap(), "placement").unwrap_err().to_string()
    }

    #[test]
    fn credentials_become_keystones_request() {
        let credentials = Credentials::from_config(&config("placement", ""), "placement").unwrap();
        assert_eq!(credentials.auth_url.as_str(), "https://keystone:5000/identity/v3");
        let user = json!({"name": "nova", "domain": {"name": "Default"}, "password": "pass$word"});
        let scope = json!({"project": {"name": "service", "domain": {"id": "default"}}});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        assert_eq!(credentials.request(), json!({"auth": {"identity": identity, "scope": scope}}));
    }

    #[test]
    fn ids_need_no_domain_and_the_default_domain_is_used_where_none_is_named() {
        let by_id =
            "[placement]\nauth_type = v3password\nauth_url = http://h\nuser_id = u\npassword = x\nproject_id = p";
        let request = Credentials::from_config(&Config::from_text(by_id).unwrap(), "placement").unwrap().request();
        assert_eq!(request["auth"]["identity"]["password"]["user"], json!({"id": "u", "password": "x"}));
        assert_eq!(request["auth"]["scope"], json!({"project": {"id": "p"}}));
        let default = "[placement]\nauth_type = password\nauth_url = http://h\nusername = u\npassword = x
            system_scope = all\ndefault_domain_id = d";
        let request = Credentials::from_config(&Config::from_text(&lines(default)).unwrap(), "placement").unwrap();
        assert_eq!(request.request()["auth"]["identity"]["password"]["user"]["domain"], json!({"id": "d"}));
        assert_eq!(request.request()["auth"]["scope"], json!({"system": {"all": true}}));
    }

    #[test]
    fn a_section_without_credentials_has_those_of_keystone_authtoken_or_of_the_one_it_names() {
        let text = format!(
            "[keystone_authtoken]\n{full}\n[neutron]\nauth_section = other\n[other]\n{full}\nproject_id = p\n[glance]\ntimeout = 9",
            full = lines(FULL)
        );
        let config = Config::from_text(&text).unwrap();
        let of = |section| Credentials::from_config(&config, section).unwrap();
        assert_eq!(of("glance"), of("keystone_authtoken"));
        assert_eq!(of("neutron"), of("other"));
        assert_ne!(of("neutron"), of("glance"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_section() {
        let begin = "[placement]\nauth_type = password\n";
        let cases = [
            ("[placement]\nauth_url = http://h", "[placement] auth_type: is required; it must be password"),
            ("[placement]\nauth_type = v3token", "[placement] auth_type: \"v3token\" is not supported, password is"),
            (begin, "[placement] auth_url: is required"),
            (&format!("{begin}auth_url = keystone:5000"), "[placement] auth_url: must begin with http:// or https://"),
            (
                &format!("{begin}auth_url = http://u:secret@h"),
                "[placement] auth_url: must not hold a user or a password",
            ),
            (
                &format!("{begin}auth_url = http://h\nusername = u"),
                "[placement] user_domain_name: is required with a username",
            ),
            (&format!("{begin}auth_url = http://h\nuser_id = u"), "[placement] password: is required"),
            (
                &format!("{begin}auth_url = http://h\nuser_id = u\npassword = x"),
                "[placement] project_name: is required",
            ),
            ("", "[keystone_authtoken] auth_type: is required; it must be password"),
        ];
        for (text, expected) in cases {
            assert_eq!(refusal(text), expected);
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let credentials = Credentials::from_config(&config("placement", ""), "placement").unwrap();
        assert!(!format!("{credentials:?}").contains("pass$word"), "{credentials:?}");
    }

    #[test]
    fn access_has_novas_defaults_and_names_what_does_not_fit() {
        let access = Access::from_config(&Config::empty(), "neutron", "network", Some("http_retries")).unwrap();
        assert_eq!(access.interfaces, ["internal", "public"]);
        assert_eq!((access.retries.connect, access.retries.status_code), (3, 3));
        let text = "[neutron]\nhttp_retries = 5\nstatus_code_retries = 1\nvalid_interfaces = admin\nregion_name = R";
        let config = Config::from_text(text).unwrap();
        let access = Access::from_config(&config, "neutron", "network", Some("http_retries")).unwrap();
        assert_eq!((access.retries.connect, access.retries.status_code), (5, 1));
        assert_eq!((access.interfaces, access.region.as_deref()), (vec!["admin".to_owned()], Some("R")));
        for (text, expected) in [
            ("endpoint_override = nowhere", "[neutron] endpoint_override: is no URL: relative URL without a base"),
            ("http_retries = -1", "[neutron] http_retries: \"-1\" is not a u32"),
            ("connect_retry_delay = 90", "[neutron] connect_retry_delay: must be a number of seconds from 0 to 60"),
        ] {
            let config = Config::from_text(&format!("[neutron]\n{text}")).unwrap();
            let error = Access::from_config(&config, "neutron", "network", Some("http_retries")).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let config = Config::from_text("[neutron]\ntimeout = 0").unwrap();
        let error = Transport::from_config(&config, "neutron").unwrap_err();
        assert_eq!(error.to_string(), "[neutron] timeout: must be a number of seconds above 0, at most a day");
    }

    #[test]
    fn servers_are_listed_and_each_must_be_a_url() {
        let of = |text: &str| servers(&Config::from_text(text).unwrap(), "glance", "api_servers");
        let found = of("[glance]\napi_servers = http://a:9292, https://b/image").unwrap();
        assert_eq!(found.iter().map(Url::as_str).collect::<Vec<_>>(), ["http://a:9292/", "https://b/image"]);
        assert_eq!(of("").unwrap(), []);
        let error = of("[glance]\napi_servers = http://a, b:9292").unwrap_err();
        assert_eq!(error.to_string(), "[glance] api_servers: must begin with http:// or https://");
    }

    #[test]
    fn cinder_is_found_by_its_catalog_info() {
        let of = |text: &str| Access::of_cinder(&Config::from_text(&format!("[cinder]\n{text}")).unwrap());
        let access = of("").unwrap();
        assert_eq!(access.service_types, ["volumev3", "block-storage"]);
        assert_eq!((access.service_name, access.interfaces), (None, vec!["publicURL".to_owned()]));
        let access = of("catalog_info = volume:cinder:internalURL\nos_region_name = R\nhttp_retries = 1").unwrap();
        assert_eq!(access.service_types, ["volume"]);
        assert_eq!((access.service_name.as_deref(), access.region.as_deref()), (Some("cinder"), Some("R")));
        assert_eq!((access.interfaces, access.retries.connect), (vec!["internalURL".to_owned()], 1));
        assert_eq!(
            of("catalog_info = volumev3").unwrap_err().to_string(),
            "[cinder] catalog_info: must be <service type>:<service name>:<endpoint type>"
        );
    }

    #[test]
    fn a_url_of_projects_gets_the_callers() {
        let of = |text: &str, project| of_project(Url::parse(text).unwrap(), "v3", project).to_string();
        for text in ["http://h/volume/v3/%(project_id)s", "http://h/volume/v3/service", "http://h/volume/v3/service/"] {
            assert_eq!(of(text, Some("p")), "http://h/volume/v3/p");
        }
        assert_eq!(of("http://h/volume/v3/%(project_id)s", None), "http://h/volume/v3");
        assert_eq!(of("http://h/volume/v3/service", None), "http://h/volume/v3/service");
        assert_eq!(of("http://h/volume/v3/", Some("p")), "http://h/volume/v3");
        assert_eq!(of("http://h:8776", Some("p")), "http://h:8776/v3");
    }

    #[test]
    fn versions_at_the_end_of_an_endpoint_are_replaced() {
        let of = |text: &str| versioned(Url::parse(text).unwrap(), "v3").to_string();
        for text in ["http://h/identity", "http://h/identity/", "http://h/identity/v3/", "http://h/identity/v2.0"] {
            assert_eq!(of(text), "http://h/identity/v3");
        }
        assert_eq!(of("http://h:5000"), "http://h:5000/v3");
        assert_eq!(unversioned(Url::parse("http://h/").unwrap()).as_str(), "http://h/");
        assert_eq!(unversioned(Url::parse("http://h/volume").unwrap()).as_str(), "http://h/volume");
    }
}
