//! A browser without scripts: it keeps cookies by host and port, follows redirects, and fills in the forms of the
//! test's OpenID provider.

use super::{Call, Reply};
use crate::{Result, Stack};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const MAX_REDIRECTS: usize = 20;

/// One browser profile, with a record of the cookies and redirects that it received.
#[derive(Default)]
pub struct Browser {
    cookies: BTreeMap<(SocketAddr, String), String>,
    /// Every cookie that it received, as `name=value`.
    pub received_cookies: Vec<String>,
    /// Every redirect location that it received.
    pub redirects: Vec<String>,
}

impl Browser {
    /// Sends the request with the cookies of that host and follows redirects. Returns the final host and its
    /// response.
    ///
    /// # Errors
    /// When a server does not respond, or the redirects do not end.
    pub async fn navigate(
        &mut self,
        address: SocketAddr,
        call: Call,
    ) -> Result<(SocketAddr, Reply)> {
        let (mut address, mut call) = (address, call);
        for _ in 0..MAX_REDIRECTS {
            let own_cookies = self
                .cookies
                .iter()
                .filter(|((host, _), _)| *host == address);
            let cookies: Vec<String> = own_cookies
                .map(|((_, name), value)| format!("{name}={value}"))
                .collect();
            let reply = call.cookie(&cookies.join("; ")).send(address).await?;
            self.store_cookies(address, &reply);
            let location = reply.header("location").to_owned();
            if !(300..400).contains(&reply.status) {
                return Ok((address, reply));
            }
            self.redirects.push(location.clone());
            let path = match location.strip_prefix("http://") {
                Some(after_scheme) => {
                    let (host, path) = after_scheme.split_once('/').ok_or("no path")?;
                    address = host.parse()?;
                    format!("/{path}")
                }
                None => location,
            };
            call = Call::get(&path).header("accept", "text/html");
        }
        Err("too many redirects".into())
    }

    fn store_cookies(&mut self, address: SocketAddr, reply: &Reply) {
        for set_cookie in reply.headers.get_all("set-cookie") {
            let set_cookie = set_cookie.to_str().unwrap_or_default();
            let pair = set_cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').unwrap_or_default();
            if value.is_empty() {
                self.cookies.remove(&(address, name.to_owned()));
            } else {
                self.received_cookies.push(pair.to_owned());
                self.cookies
                    .insert((address, name.to_owned()), value.to_owned());
            }
        }
    }

    /// Opens this path of the site, submits the provider's login form if there is one, and returns the final page.
    ///
    /// # Errors
    /// As [`Self::navigate`].
    pub async fn log_in(&mut self, stack: &Stack, path: &str, name: &str) -> Result<Reply> {
        let (address, page) = self.navigate(stack.address(), Call::get(path)).await?;
        let text = page.text();
        let Some((_, action)) = text.split_once("action=\"/interaction/") else {
            return Ok(page);
        };
        let action = format!(
            "/interaction/{}",
            action.split('"').next().unwrap_or_default()
        );
        let form = Call::post_form(&action, &[("login", name)]);
        Ok(self.navigate(address, form).await?.1)
    }

    /// Confirms the provider's logout page. Returns the host of the page that follows.
    ///
    /// # Errors
    /// When the page is not a logout page; as [`Self::navigate`].
    pub async fn confirm_logout(
        &mut self,
        provider: SocketAddr,
        page: &Reply,
    ) -> Result<SocketAddr> {
        let text = page.text();
        let (_, xsrf) = text
            .split_once("name=\"xsrf\" value=\"")
            .ok_or(text.clone())?;
        let xsrf = xsrf.split('"').next().unwrap_or_default();
        let fields = [("xsrf", xsrf), ("logout", "yes")];
        let confirm = Call::post_form("/session/end/confirm", &fields);
        Ok(self.navigate(provider, confirm).await?.0)
    }

    /// The site's login cookie, `berth=...`.
    ///
    /// # Errors
    /// When it has no login cookie.
    pub fn login_cookie(&self, stack: &Stack) -> Result<String> {
        let value = self.cookies.get(&(stack.address(), "berth".to_owned()));
        Ok(format!("berth={}", value.ok_or("not logged in")?))
    }
}
