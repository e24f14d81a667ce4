//! Which hosts and origins are served: pure checks of the `Host` and `Origin` headers. It must not answer requests.

use super::HttpSettings;
use http::{HeaderMap, Uri, header};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The host that a request is for: the authority of the target or the one `Host` header. `None` if there is none or
/// if they do not agree on being one.
pub fn requested<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|value| value.to_str().ok());
    if hosts.next().is_some() {
        return None;
    }
    match (uri.authority().map(http::uri::Authority::as_str), host) {
        (Some(authority), None) => Some(authority),
        (Some(authority), Some(Some(host))) if authority.eq_ignore_ascii_case(host) => Some(host),
        (None, Some(host)) => host,
        _ => None,
    }
}

/// True for `localhost` and loopback addresses, with any port. A DNS name that an attacker points at 127.0.0.1 is not.
pub fn is_loopback(host: &str) -> bool {
    let name = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()) && is_port(port);
    } else if let Some(colon) = host.find(':') {
        let (name, port) = host.split_at(colon);
        if !is_port(port) {
            return false;
        }
        name
    } else {
        host
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// True if a browser page of this origin may open a socket: no `Origin` at all (not a browser), the server's own, or
/// one of the configuration. Browsers do not apply CORS to sockets, so the server has to.
pub fn may_connect(uri: &Uri, headers: &HeaderMap, settings: &HttpSettings) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let (Ok(origin), None) = (origin.to_str(), origins.next()) else { return false };
    let own = requested(uri, headers).is_some_and(|host| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    own || is_listed(origin, settings)
}

/// True if the configuration names this origin or it is that of the public address.
pub fn is_listed(origin: &str, settings: &HttpSettings) -> bool {
    let same = |listed: &str| origin_of(listed).eq_ignore_ascii_case(origin);
    same(&settings.public_url) || settings.allowed_origins.iter().any(|listed| same(listed))
}

/// Scheme and authority of an address.
fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    url[start..].find('/').map_or(url, |path| &url[..start + path])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::time::Duration;

    fn settings() -> HttpSettings {
        HttpSettings {
            public_url: "https://claims.example/app".into(),
            allowed_origins: vec!["https://front.example/".into()],
            loopback_only: true,
            introspection: true,
            playground: true,
            max_inline_upload_bytes: 1,
            request_timeout: Duration::from_secs(1),
            body_timeout: Duration::from_secs(1),
            upload_timeout: Duration::from_secs(1),
            socket_init_timeout: Duration::from_secs(1),
            socket_ping: Duration::from_secs(1),
            socket_silence: Duration::from_secs(1),
            quotas: crate::http::Quotas::default(),
            trusted_proxies: Vec::new(),
            playground_token: None,
        }
    }

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn loopback_names_are_recognised_with_any_port() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_rebound_name_is_not_loopback() {
        let hosts = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:80@evil.example",
            "0.0.0.0",
            "[::2]",
            "[::1",
            "",
            "localhost:",
        ];
        for host in hosts {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn two_host_headers_are_no_host() {
        let uri = Uri::from_static("/graphql");
        assert_eq!(requested(&uri, &headers(&[(header::HOST, "localhost"), (header::HOST, "evil.example")])), None);
        assert_eq!(requested(&Uri::from_static("http://evil.example/"), &headers(&[(header::HOST, "localhost")])), None);
        assert_eq!(requested(&uri, &headers(&[(header::HOST, "localhost")])), Some("localhost"));
    }

    #[test]
    fn sockets_are_for_no_origin_the_own_one_and_the_listed_ones() {
        let uri = Uri::from_static("/graphql");
        let may = |pairs: &[(http::HeaderName, &'static str)]| may_connect(&uri, &headers(pairs), &settings());
        assert!(may(&[(header::HOST, "localhost:8080")]));
        assert!(may(&[(header::HOST, "localhost:8080"), (header::ORIGIN, "http://localhost:8080")]));
        assert!(may(&[(header::HOST, "x"), (header::ORIGIN, "https://claims.example")]));
        assert!(may(&[(header::HOST, "x"), (header::ORIGIN, "https://front.example")]));
        assert!(!may(&[(header::HOST, "localhost:8080"), (header::ORIGIN, "http://localhost:9090")]));
        assert!(!may(&[(header::HOST, "localhost:8080"), (header::ORIGIN, "null")]));
    }
}
