//! Between the records' own form and the messages'.

use corten_netplan::dns::{Data, Kind, Records};
use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The type of records that a question asks for.
pub fn kind(of: RecordType) -> Kind {
    match of {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::CNAME => Kind::Cname,
        RecordType::NS => Kind::Ns,
        RecordType::PTR => Kind::Ptr,
        RecordType::SOA => Kind::Soa,
        RecordType::SRV => Kind::Srv,
        RecordType::TXT => Kind::Txt,
        _ => Kind::Other,
    }
}

/// A complete name.
pub fn name(text: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(text)?;
    name.set_fqdn(true);
    Ok(name)
}

/// A record of a name.
pub fn record(owner: Name, ttl: u32, data: &Data, records: &Records) -> Result<Record, ProtoError> {
    let data = match data {
        Data::A(ip) => RData::A(A(*ip)),
        Data::Aaaa(ip) => RData::AAAA(AAAA(*ip)),
        Data::Cname(to) => RData::CNAME(CNAME(name(to)?)),
        Data::Ns(server) => RData::NS(NS(name(server)?)),
        Data::Ptr(to) => RData::PTR(PTR(name(to)?)),
        Data::Srv {
            weight,
            port,
            target,
        } => RData::SRV(SRV::new(0, *weight, *port, name(target)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Soa => return authority(ttl, records),
    };
    Ok(Record::from_rdata(owner, ttl, data))
}

/// The zone's SOA record, which denials carry: its last number says how long they hold.
pub fn authority(ttl: u32, records: &Records) -> Result<Record, ProtoError> {
    let zone = records.zone();
    let (server, contact) = (
        name(&format!("ns.dns.{zone}"))?,
        name(&format!("hostmaster.{zone}"))?,
    );
    let soa = SOA::new(server, contact, records.serial(), 7_200, 1_800, 86_400, ttl);
    Ok(Record::from_rdata(name(zone)?, ttl, RData::SOA(soa)))
}
