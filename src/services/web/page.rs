//! The chat's page, and what a browser may do with it.

/// The page: one file, without anything from elsewhere.
pub(super) const PAGE: &str = include_str!("page.html");

/// The content security policy of the page: its own style and script, known by
/// their hashes, and connections to its own host. A test holds the hashes against
/// the page.
pub(super) const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-0lYWwMAxAkEri94Ys/LMuiDrPwyWbjx85V6XdTGSdAQ='; \
    style-src 'sha256-UzGcZURJMfjIjSwJVPB5ANcFhQCdSjYkuERpDmzW4JU='; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    /// The hash of what stands between two tags, as a policy names it.
    fn hash(tag: &str) -> String {
        let (_, behind) = PAGE.split_once(&format!("<{tag}>")).expect("the tag");
        let (content, _) = behind.split_once(&format!("</{tag}>")).expect("its end");
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content.as_bytes())))
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_of_the_page_and_nothing_else() {
        for tag in ["script", "style"] {
            let allowed = format!("{tag}-src {};", hash(tag));
            assert!(POLICY.contains(&allowed), "it has to say {allowed}");
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1);
        }
        for attribute in ["style=", "onclick=", "onload=", "onsubmit="] {
            assert!(!PAGE.contains(attribute), "{attribute}");
        }
    }

    #[test]
    fn the_page_loads_nothing() {
        for from_elsewhere in ["http://", "https://", "src=", "href=", "@import", "url("] {
            assert!(!PAGE.contains(from_elsewhere), "{from_elsewhere}");
        }
        assert!(PAGE.len() < 12 << 10, "{} bytes", PAGE.len());
    }

    #[test]
    fn what_others_say_is_text() {
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!PAGE.contains(markup), "{markup}");
        }
    }
}
