//! Reads values of variables and collects everything that is wrong with them. It must not know what they are for beyond
//! their shape. Values are not repeated in problems if they may hold a secret.

use super::{is_base_url, is_loopback_url};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// Reads by a lookup such as `std::env::var`.
pub(super) struct Reader<L> {
    pub lookup: L,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// Notes something that is wrong.
    pub fn object(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// A value without space around it; an empty one is as one that is not set.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Values that are separated by commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    }

    /// Addresses, or networks such as 10.0.0.0/8, that are separated by commas.
    pub fn networks(&mut self, name: &str) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for item in self.list(name) {
            let address = || item.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
            match address().or_else(|| item.parse().ok()) {
                Some(network) => networks.push(network),
                None => self.object(format!("{name} has \"{item}\"; each must be an IP address or a network, such as 10.0.0.0/8.")),
            }
        }
        networks
    }

    pub fn number<N: FromStr + PartialOrd + fmt::Display + Copy>(&mut self, name: &str, default: N, least: N, most: N) -> N {
        let Some(text) = self.text(name) else { return default };
        match text.parse::<N>() {
            Ok(value) if value >= least && value <= most => value,
            _ => {
                self.object(format!("{name} is \"{text}\"; it must be a whole number from {least} to {most}, such as {default}."));
                default
            }
        }
    }

    pub fn millis(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(name, default, least, most))
    }

    pub fn switch(&mut self, name: &str, default: bool) -> bool {
        match self.text(name).as_deref() {
            None => default,
            Some("on") => true,
            Some("off") => false,
            Some(other) => {
                self.object(format!("{name} is \"{other}\"; it must be on or off."));
                default
            }
        }
    }

    /// One of several words, each with what it means.
    pub fn choice<T: Copy>(&mut self, name: &str, default: T, choices: &[(&str, T)]) -> T {
        let Some(text) = self.text(name) else { return default };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.object(format!("{name} is \"{text}\"; it must be {}.", words.join(" or ")));
        default
    }

    pub fn host(&mut self) -> IpAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        match self.text("HOST").as_deref() {
            None | Some("localhost") => loopback,
            Some(text) => text.parse().unwrap_or_else(|_| {
                self.object(format!("HOST is \"{text}\"; it must be an IP address such as 127.0.0.1, 0.0.0.0 or ::1."));
                loopback
            }),
        }
    }

    pub fn socket_address(&mut self, name: &str) -> Option<SocketAddr> {
        let text = self.text(name)?;
        let address = text.parse().ok();
        if address.is_none() {
            self.object(format!("{name} is \"{text}\"; it must be an IP address and a port, such as 0.0.0.0:9090."));
        }
        address
    }

    /// A base URL without a slash at its end.
    pub fn base_url(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if !is_base_url(&text) {
            self.object(format!("{name} must be http:// or https:// with a host and without a path, such as https://claims.example."));
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    /// A URL that tokens are judged by: over the network only with TLS.
    pub fn trusted_url(&mut self, name: &str, example: &str) -> Option<String> {
        let text = self.text(name)?;
        let uri = text.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
        match uri.as_ref().and_then(http::Uri::scheme_str) {
            Some("https") => {}
            Some("http") if is_loopback_url(&text) => {}
            Some("http") => self.object(format!(
                "{name} begins with http://, so whoever is on the network could pass for the issuer; use https://, such as {example}."
            )),
            _ => self.object(format!("{name} must be a URL, such as {example}.")),
        }
        Some(text)
    }

    /// A connection URL, which may hold a password, by its schemes.
    pub fn connection_url(&mut self, name: &str, schemes: &[&str], otherwise: &str) -> Option<String> {
        let url = self.text(name)?;
        let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme)?.strip_prefix("://"));
        if rest.is_none_or(str::is_empty) {
            let begins = schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(" or ");
            self.object(format!("{name} must begin with {begins}, such as {}://user:password@host/; {otherwise}", schemes[0]));
        }
        Some(url)
    }
}
