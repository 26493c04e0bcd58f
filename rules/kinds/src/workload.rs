//! What the kinds that bring a pod template share: cells for its containers, and the warning about long names.

use crate::names;
use corten_api::core::v1::Container;
use corten_core::Value;

/// Names and images of the containers of a template, as two cells.
pub fn container_cells(containers: &[Container]) -> [Value; 2] {
    let join = |of: fn(&Container) -> &str| {
        let all: Vec<&str> = containers.iter().map(of).collect();
        Value::from(all.join(","))
    };
    [join(|c| &c.name), join(|c| &c.image)]
}

/// Warns when a name makes poor pod names and host names.
pub fn name_warning(name: &str) -> Option<String> {
    let wrong = names::dns_label(name);
    (!wrong.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
             label is recommended: [{}]",
            wrong.join(" ")
        )
    })
}

/// At most `max` of the texts, joined by commas, and how many more there are; `<unset>` for none.
pub fn with_more<'a>(texts: impl Iterator<Item = &'a str>, max: usize) -> String {
    let all: Vec<&str> = texts.collect();
    if all.len() > max {
        return format!("{} + {} more...", all[..max].join(","), all.len() - max);
    }
    let text = all.join(",");
    if text.is_empty() {
        "<unset>".to_owned()
    } else {
        text
    }
}
