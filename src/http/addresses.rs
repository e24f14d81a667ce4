//! Whose request it is, as an address: that of the connection, or, where the connection comes from a proxy that the
//! configuration trusts, the one that the proxy wrote. What anybody else writes into a header is not believed. It must not
//! decide what an address may do.

use super::server::Connection;
use http::{Extensions, HeaderMap};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The header that proxies append to. `Forwarded` is not read: a proxy that writes one passes the other on as the client
/// sent it, and the client would choose who it is.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client behind a request.
pub fn client(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = extensions.get::<Connection>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| connection.peer.ip());
    behind(peer, headers, trusted)
}

/// Goes from the peer towards the client as long as whoever wrote an entry is trusted: the first that is not is the client.
fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    if !is_trusted(&nearest) {
        return nearest;
    }
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        // Text that is no address was not written by a proxy that can be trusted: the last known address counts.
        let Ok(line) = line.to_str() else { return nearest };
        for entry in line.rsplit(',') {
            let Some(address) = address(entry.trim()) else { return nearest };
            nearest = address;
            if !is_trusted(&nearest) {
                return nearest;
            }
        }
    }
    nearest
}

/// An entry: an address, in brackets or not, with a port or without.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = || entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let parsed = bare().parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client_of(peer: &str, lines: &[&'static str]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
        }
        behind(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn who_is_not_trusted_is_who_connects_whatever_it_writes() {
        for lines in [&[][..], &["198.51.100.7"], &["10.0.0.1"], &["192.0.2.1, 10.0.0.1"], &["nonsense"]] {
            assert_eq!(client_of("203.0.113.9", lines), "203.0.113.9", "{lines:?}");
        }
    }

    #[test]
    fn behind_trusted_proxies_the_last_one_that_is_not_trusted_is_the_client() {
        assert_eq!(client_of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        // what stands further left was written by the client
        assert_eq!(client_of("10.0.0.1", &["1.2.3.4, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", &["10.9.9.9, 198.51.100.7 ,192.0.2.1"]), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", &["1.2.3.4", "198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "all of them are trusted");
        assert_eq!(client_of("::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client_of("fd00::1", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn entries_may_have_ports_and_brackets_and_nonsense_ends_the_search() {
        for (line, client) in [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("198.51.100.7, unknown", "10.0.0.1"),
            ("198.51.100.7,", "10.0.0.1"),
            ("198.51.100.7, 10.0.0.2, x:y", "10.0.0.1"),
            ("unknown, 10.0.0.2", "10.0.0.2"),
        ] {
            assert_eq!(client_of("10.0.0.1", &[line]), client, "{line}");
        }
    }
}
