//! `[notifications]` and `[oslo_messaging_notifications]`.

use std::str::FromStr;

use kilonova_core::{Config, ConfigError};
use kilonova_messaging::NotificationOptions;
use kilonova_messaging::transport::rabbit::OptionError;

use super::audit_period::AuditPeriod;
use super::versioned::Shows;

const NOVA: &str = "notifications";
const OSLO: &str = "oslo_messaging_notifications";

/// The options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotificationsError {
    /// An option has a value that it cannot have.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The same in oslo.messaging's section.
    #[error("[oslo_messaging_notifications]")]
    Oslo(#[from] OptionError),
}

/// Which changes of an instance count as changes of its state: `[notifications] notify_on_state_change`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    VmState,
    VmAndTaskState,
}

impl FromStr for Follow {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "vm_state" => Ok(Self::VmState),
            "vm_and_task_state" => Ok(Self::VmAndTaskState),
            _ => Err(()),
        }
    }
}

/// `[notifications] notification_format`
enum Format {
    Unversioned,
    Versioned,
    Both,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "unversioned" => Ok(Self::Unversioned),
            "versioned" => Ok(Self::Versioned),
            "both" => Ok(Self::Both),
            _ => Err(()),
        }
    }
}

/// What can be said about notifications.
#[derive(Debug)]
pub(super) struct Options {
    /// Where and how the unversioned form is sent; `None`: it is not.
    pub(super) unversioned: Option<NotificationOptions>,
    /// Where and how the versioned form is sent; `None`: it is not.
    pub(super) versioned: Option<NotificationOptions>,
    /// How often a message is sent again; `None`: until it is sent.
    pub(super) retry: Option<u32>,
    pub(super) follow: Option<Follow>,
    pub(super) bdms_in_notifications: bool,
    pub(super) include_share_mapping: bool,
    pub(super) audit_period: AuditPeriod,
    /// Where images are, without a version. `None`: the context's catalog may know.
    pub(super) image_endpoint: Option<String>,
}

impl Options {
    pub(super) fn from_config(config: &Config) -> Result<Self, NotificationsError> {
        let format = choice(config, NOVA, "notification_format", "unversioned, versioned or both")?;
        let (is_unversioned, is_versioned) = match format.unwrap_or(Format::Unversioned) {
            Format::Unversioned => (true, false),
            Format::Versioned => (false, true),
            Format::Both => (true, true),
        };
        let oslo = oslo_options(config)?;
        let topics = config.list(NOVA, "versioned_notifications_topics", &["versioned_notifications"]);
        let versioned = NotificationOptions { topics, ..oslo.clone() };
        // Nova has the option and makes no use of it either.
        let _ = config.get(NOVA, "default_level");
        Ok(Self {
            retry: oslo.retry,
            unversioned: is_unversioned.then_some(oslo),
            versioned: is_versioned.then_some(versioned),
            follow: choice(config, NOVA, "notify_on_state_change", "vm_state or vm_and_task_state")?,
            bdms_in_notifications: config.flag(NOVA, "bdms_in_notifications", false)?,
            include_share_mapping: config.flag(NOVA, "include_share_mapping", false)?,
            audit_period: choice(config, "DEFAULT", "instance_usage_audit_period", AuditPeriod::EXPECTED)?
                .unwrap_or_default(),
            image_endpoint: image_endpoint(config),
        })
    }

    pub(super) fn shows(&self) -> Shows {
        Shows { has_shares: self.include_share_mapping }
    }
}

fn oslo_options(config: &Config) -> Result<NotificationOptions, OptionError> {
    let mut options = NotificationOptions::default();
    for name in ["driver", "topics", "transport_url", "retry"] {
        for value in config.get_all(OSLO, name) {
            options.set(name, &value)?;
        }
    }
    Ok(options)
}

/// One of several words; `None` where the option is not set, or empty.
fn choice<T: FromStr>(
    config: &Config,
    group: &str,
    name: &str,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = config.get(group, name).filter(|value| !value.trim().is_empty()) else { return Ok(None) };
    let wrong = |_| ConfigError::Value {
        group: group.to_owned(),
        name: name.to_owned(),
        value: value.clone(),
        expected: expected.to_owned(),
    };
    value.trim().parse().map(Some).map_err(wrong)
}

fn image_endpoint(config: &Config) -> Option<String> {
    let servers = config.list("glance", "api_servers", &[]);
    servers.into_iter().next().or_else(|| config.get("glance", "endpoint_override")).filter(|url| !url.is_empty())
}

#[cfg(test)]
mod tests {
    use kilonova_messaging::NotificationDriver;

    use super::*;

    fn options(text: &str) -> Result<Options, String> {
        Options::from_config(&Config::from_text(text).unwrap()).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn by_default_there_is_no_driver_and_one_form() {
        let options = options("").unwrap();
        assert_eq!(options.unversioned, Some(NotificationOptions::default()));
        assert_eq!((options.versioned, options.retry, options.follow), (None, None, None));
        assert!(!options.bdms_in_notifications && !options.include_share_mapping);
    }

    #[test]
    fn every_option_is_read() {
        let text = "[notifications]\nnotification_format = both\nversioned_notifications_topics = a, b\n\
                    notify_on_state_change = vm_and_task_state\nbdms_in_notifications = true\n\
                    include_share_mapping = true\n[oslo_messaging_notifications]\ndriver = messagingv2\ndriver = log\n\
                    topics = c\nretry = 3\n[glance]\napi_servers = http://image\n";
        let options = options(text).unwrap();
        let (unversioned, versioned) = (options.unversioned.unwrap(), options.versioned.unwrap());
        assert_eq!(unversioned.drivers, [NotificationDriver::MessagingV2, NotificationDriver::Log]);
        assert_eq!(versioned.drivers, unversioned.drivers);
        assert_eq!(
            (unversioned.topics, versioned.topics),
            (vec!["c".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!((options.retry, options.follow), (Some(3), Some(Follow::VmAndTaskState)));
        assert!(options.bdms_in_notifications && options.include_share_mapping);
        assert_eq!(options.image_endpoint.as_deref(), Some("http://image"));
    }

    #[test]
    fn a_value_that_an_option_cannot_have_is_an_error() {
        for (text, part) in [
            ("[notifications]\nnotification_format = json\n", "notification_format"),
            ("[notifications]\nnotify_on_state_change = all\n", "notify_on_state_change"),
            ("[DEFAULT]\ninstance_usage_audit_period = decade\n", "instance_usage_audit_period"),
            ("[oslo_messaging_notifications]\ndriver = kafka\n", "driver"),
        ] {
            let error = options(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
