//! DNS discovery against a minimal DNS server over UDP.

use crate::{format_engines, is_quiet, next_list, next_list_after_faults};
use berth_placement::config::{Addresses, DnsSource};
use berth_placement::engines::discovery::dns::Dns;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;

#[derive(Clone, Default)]
struct Zone(Arc<Mutex<ZoneContent>>);

#[derive(Default)]
struct ZoneContent {
    records: HashMap<(String, RecordType), Vec<RData>>,
    ttl: u32,
    /// Record types that the server answers with SERVFAIL.
    failing: Vec<RecordType>,
    /// Names that it answers in the same way.
    failing_names: Vec<String>,
    queries: u32,
}

impl Zone {
    fn set(&self, name: &str, record_type: RecordType, data: Vec<RData>) {
        let key = (name.to_owned(), record_type);
        self.0.lock().unwrap().records.insert(key, data);
    }

    fn update(&self, change: impl FnOnce(&mut ZoneContent)) {
        change(&mut self.0.lock().unwrap());
    }

    async fn serve(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let zone = self.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let answer = zone.respond(query).to_vec().unwrap();
                socket.send_to(&answer, peer).await.unwrap();
            }
        });
        at
    }

    fn respond(&self, query: Message) -> Message {
        let mut content = self.0.lock().unwrap();
        content.queries += 1;
        let asked = query.queries[0].clone();
        let mut answer = query.into_response();
        let of = asked.query_type();
        let name = asked.name().to_ascii().to_lowercase();
        let name = name.trim_end_matches('.').to_owned();
        if content.failing.contains(&of) || content.failing_names.contains(&name) {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        match content.records.get(&(name.clone(), of)) {
            Some(data) => {
                for data in data {
                    let owner = asked.name().clone();
                    answer.add_answer(Record::from_rdata(owner, content.ttl, data.clone()));
                }
            }
            None if content.records.keys().any(|(known, _)| *known == name) => {}
            None => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        answer
    }
}

fn a_record(ip: &str) -> RData {
    RData::A(A(ip.parse().unwrap()))
}

fn dns_source(server: SocketAddr) -> DnsSource {
    DnsSource {
        host: Some("engines.test".into()),
        srv: None,
        port: Some(9076),
        metrics_port: Some(9090),
        addresses: Addresses::Both,
        server: Some(server),
        min_ttl: Duration::from_millis(100),
        max_ttl: Duration::from_secs(30),
        timeout: Duration::from_secs(2),
    }
}

#[tokio::test]
async fn every_address_of_a_host_is_an_engine() {
    let zone = Zone::default();
    zone.set(
        "engines.test",
        RecordType::A,
        vec![a_record("10.0.0.2"), a_record("10.0.0.1")],
    );
    let aaaa = RData::AAAA(AAAA("fd00::1".parse().unwrap()));
    zone.set("engines.test", RecordType::AAAA, vec![aaaa]);
    let mut dns = Dns::new(&dns_source(zone.serve().await));
    let found = next_list(&mut dns).await.unwrap();
    assert_eq!(
        format_engines(&found),
        [
            "10.0.0.1-9076@10.0.0.1:9076",
            "10.0.0.2-9076@10.0.0.2:9076",
            "fd00--1-9076@[fd00::1]:9076"
        ]
    );
    assert_eq!(
        found[0].endpoint.metrics.unwrap().to_string(),
        "10.0.0.1:9090"
    );
    // Resolvers change the order of records. The set of engines stays the same, so no update follows.
    zone.set(
        "engines.test",
        RecordType::A,
        vec![a_record("10.0.0.1"), a_record("10.0.0.2")],
    );
    assert!(is_quiet(&mut dns).await);
    zone.set("engines.test", RecordType::A, vec![a_record("10.0.0.1")]);
    assert_eq!(next_list(&mut dns).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_lookup_that_fails_keeps_its_addresses_and_the_others_count() {
    let zone = Zone::default();
    zone.set("engines.test", RecordType::A, vec![a_record("10.0.0.1")]);
    zone.update(|zone| zone.failing = vec![RecordType::AAAA]);
    let mut dns = Dns::new(&dns_source(zone.serve().await));
    assert_eq!(next_list(&mut dns).await.unwrap().len(), 1, "only A works");
    let aaaa = RData::AAAA(AAAA("fd00::1".parse().unwrap()));
    zone.set("engines.test", RecordType::AAAA, vec![aaaa]);
    zone.update(|zone| zone.failing.clear());
    assert_eq!(next_list(&mut dns).await.unwrap().len(), 2);
    zone.update(|zone| zone.failing = vec![RecordType::AAAA]);
    zone.set("engines.test", RecordType::A, vec![a_record("10.0.0.2")]);
    assert_eq!(
        format_engines(&next_list(&mut dns).await.unwrap()),
        ["10.0.0.2-9076@10.0.0.2:9076", "fd00--1-9076@[fd00::1]:9076"]
    );
    // Nothing is left of the list of the source when all lookups fail or return nothing.
    zone.update(|zone| {
        zone.failing.clear();
        zone.records.clear();
    });
    let fault = next_list(&mut dns).await.unwrap_err().to_string();
    assert_eq!(fault, "engines.test has no records");
    zone.set("engines.test", RecordType::A, vec![a_record("10.0.0.1")]);
    assert_eq!(next_list_after_faults(&mut dns).await.len(), 1);
}

#[tokio::test]
async fn without_any_address_the_failed_lookup_is_the_fault() {
    let zone = Zone::default();
    zone.set("engines.test", RecordType::A, vec![a_record("10.0.0.1")]);
    zone.update(|zone| zone.failing = vec![RecordType::A]);
    let mut dns = Dns::new(&dns_source(zone.serve().await));
    let fault = next_list(&mut dns).await.unwrap_err().to_string();
    assert!(fault.contains("A records of engines.test"), "{fault}");
}

#[tokio::test]
async fn an_srv_target_that_cannot_be_resolved_keeps_its_addresses() {
    let zone = Zone::default();
    let srv =
        |port, target: &str| RData::SRV(SRV::new(0, 0, port, Name::from_ascii(target).unwrap()));
    let services = |targets: &[&str]| {
        let records = targets.iter().map(|target| srv(1, target)).collect();
        zone.set("_qix._tcp.test", RecordType::SRV, records);
    };
    services(&["e1.test.", "e2.test."]);
    for (host, ip) in [
        ("e1.test", "10.0.0.1"),
        ("e2.test", "10.0.0.2"),
        ("e3.test", "10.0.0.3"),
    ] {
        zone.set(host, RecordType::A, vec![a_record(ip)]);
    }
    let mut dns = Dns::new(&DnsSource {
        host: None,
        srv: Some("_qix._tcp.test".into()),
        port: None,
        ..dns_source(zone.serve().await)
    });
    assert_eq!(next_list(&mut dns).await.unwrap().len(), 2);
    zone.update(|zone| zone.failing_names = vec!["e1.test".to_owned()]);
    services(&["e1.test.", "e3.test."]);
    assert_eq!(
        format_engines(&next_list(&mut dns).await.unwrap()),
        ["10.0.0.1-1@10.0.0.1:1", "10.0.0.3-1@10.0.0.3:1"]
    );
}

#[tokio::test]
async fn srv_records_set_the_ports() {
    let zone = Zone::default();
    let srv =
        |port, target: &str| RData::SRV(SRV::new(0, 0, port, Name::from_ascii(target).unwrap()));
    let both = vec![srv(19076, "e1.test."), srv(29076, "e2.test.")];
    zone.set("_qix._tcp.test", RecordType::SRV, both);
    zone.set("e1.test", RecordType::A, vec![a_record("10.0.0.1")]);
    zone.set("e2.test", RecordType::A, vec![a_record("10.0.0.2")]);
    let mut dns = Dns::new(&DnsSource {
        host: None,
        srv: Some("_qix._tcp.test".into()),
        port: None,
        ..dns_source(zone.serve().await)
    });
    assert_eq!(
        format_engines(&next_list(&mut dns).await.unwrap()),
        [
            "10.0.0.1-19076@10.0.0.1:19076",
            "10.0.0.2-29076@10.0.0.2:29076"
        ]
    );
}

#[tokio::test]
async fn the_ttl_sets_the_next_lookup() {
    let zone = Zone::default();
    zone.set("engines.test", RecordType::A, vec![a_record("10.0.0.1")]);
    zone.update(|zone| zone.ttl = 3600);
    let server = zone.serve().await;
    let mut dns = Dns::new(&dns_source(server));
    assert_eq!(next_list(&mut dns).await.unwrap().len(), 1);
    let asked = zone.0.lock().unwrap().queries;
    assert!(is_quiet(&mut dns).await);
    assert_eq!(zone.0.lock().unwrap().queries, asked);
    // A TTL of an hour is cut to `max_ttl`.
    let mut short = Dns::new(&DnsSource {
        max_ttl: Duration::from_millis(100),
        ..dns_source(server)
    });
    assert_eq!(next_list(&mut short).await.unwrap().len(), 1);
    let asked = zone.0.lock().unwrap().queries;
    assert!(is_quiet(&mut short).await);
    let again = zone.0.lock().unwrap().queries - asked;
    assert!((2..=8).contains(&again), "{again}");
}
