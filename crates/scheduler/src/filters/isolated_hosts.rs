//! IsolatedHostsFilter: certain images run on certain hosts, and by default nothing else runs there.
//!
//! ```text
//!                                            isolated image   another image
//! isolated host                              yes              no, or yes without the restriction
//! another host                               no               yes
//! ```

use std::collections::BTreeSet;

use kilonova_core::{Config, ConfigError};
use uuid::Uuid;

use super::{GROUP, HostFilter};
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct IsolatedHostsFilter {
    isolated_images: BTreeSet<Uuid>,
    isolated_hosts: BTreeSet<String>,
    restrict_isolated_hosts_to_isolated_images: bool,
}

impl IsolatedHostsFilter {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        let images = config.list(GROUP, "isolated_images", &[]);
        let restrict = config.flag(GROUP, "restrict_isolated_hosts_to_isolated_images", true)?;
        Ok(Self {
            isolated_images: images.iter().map(|id| image_id(id)).collect::<Result<_, _>>()?,
            isolated_hosts: config.list(GROUP, "isolated_hosts", &[]).into_iter().collect(),
            restrict_isolated_hosts_to_isolated_images: restrict,
        })
    }
}

fn image_id(text: &str) -> Result<Uuid, ConfigError> {
    text.parse().map_err(|_| ConfigError::Value {
        group: GROUP.to_owned(),
        name: "isolated_images".to_owned(),
        value: text.to_owned(),
        expected: "the uuid of an image".to_owned(),
    })
}

impl HostFilter for IsolatedHostsFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let image = asked.spec.image.as_ref().and_then(|image| image.id);
        let is_image_isolated = image.is_some_and(|id| self.isolated_images.contains(&id));
        let is_host_isolated = self.isolated_hosts.contains(host.host());
        if is_image_isolated {
            is_host_isolated
        } else {
            !is_host_isolated || !self.restrict_isolated_hosts_to_isolated_images
        }
    }

    fn run_on_rebuild(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::{ImageMeta, RequestSpec};

    use super::*;
    use crate::filters::testing::{asked, host, options};

    const ISOLATED: Uuid = Uuid::from_u128(1);

    fn passes(lines: &str, host_name: &str, image: Option<Uuid>) -> bool {
        let filter = IsolatedHostsFilter::new(&options(lines)).unwrap();
        let image = image.map(|id| ImageMeta { id: Some(id), ..ImageMeta::default() });
        filter.passes(&host(host_name), &asked(&RequestSpec { image, ..RequestSpec::default() }))
    }

    #[test]
    fn isolated_images_and_hosts_keep_to_each_other() {
        let lists = format!("isolated_images = {ISOLATED}\nisolated_hosts = a");
        let loose = format!("{lists}\nrestrict_isolated_hosts_to_isolated_images = false");
        let another = Some(Uuid::from_u128(2));
        for (host, image, restricted, unrestricted) in [
            ("a", Some(ISOLATED), true, true),
            ("b", Some(ISOLATED), false, false),
            ("a", another, false, true),
            ("b", another, true, true),
            ("a", None, false, true),
            ("b", None, true, true),
        ] {
            assert_eq!(passes(&lists, host, image), restricted, "{host} {image:?}");
            assert_eq!(passes(&loose, host, image), unrestricted, "{host} {image:?}");
        }
    }

    #[test]
    fn without_images_isolated_hosts_stay_empty_and_without_hosts_isolated_images_have_none() {
        assert!(!passes("isolated_hosts = a", "a", Some(ISOLATED)));
        assert!(passes("isolated_hosts = a", "b", Some(ISOLATED)));
        assert!(!passes(&format!("isolated_images = {ISOLATED}"), "b", Some(ISOLATED)));
        assert!(passes("", "a", None));
    }

    #[test]
    fn what_is_no_uuid_is_an_error_that_names_the_option() {
        let error = IsolatedHostsFilter::new(&options("isolated_images = pony")).unwrap_err().to_string();
        assert!(error.starts_with("[filter_scheduler] isolated_images: \"pony\""), "{error}");
    }
}
