//! The steps of one placement on its route: finds the engine of the request's key, returns a tab to its engine session, or
//! lets an engine be selected and prepared; then sets the headers of the route.

use super::affinity::{AffinityEntry, AffinityKey};
use super::attempts::PreparedEngine;
use super::keyed::KeyedEngine;
use super::keys::engine_failed;
use super::pool::Pool;
use super::routes::{RouteDetails, RouteTarget};
use super::selection::{DecisionTrace, PlacementTask};
use super::{PlaceRequest, Placement, PlacementService, REPLACED, explain};
use crate::config::{AffinityMode, Permission};
use crate::core::header_template::HeaderSources;
use crate::core::rejection::Rejection;
use berth_api::RejectReason;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

impl PlacementService {
    /// Places a request on its route.
    pub(super) async fn place_on_route(
        &self,
        request: &PlaceRequest<'_>,
        details: &RouteDetails<'_>,
        (target, pool): (&RouteTarget, &Pool),
        trace: &mut DecisionTrace,
    ) -> Result<Placement, Rejection> {
        if !request.upgrade && details.route.http == Permission::Deny {
            return Err(RejectReason::UpgradeRequired.into());
        }
        let key = match &self.keys {
            Some(keys) => keys.request_key(details, request)?,
            None => None,
        };
        let affinity = &details.route.affinity;
        let is_sticky = affinity.mode == AffinityMode::Sticky;
        let preferred = key.as_ref().filter(|_| !is_sticky);
        let preferred = preferred.map(|key| match &details.preferred_document {
            Some(document) => document.as_str(),
            None => key.name.as_str(),
        });
        let task = PlacementTask {
            pool,
            target,
            request,
            path: details.rewritten.as_deref().unwrap_or(request.path),
            document: preferred.or(target.open_target.document()),
            document_weight: preferred.and(affinity.weight),
            key: key
                .as_ref()
                .filter(|_| is_sticky)
                .map(|key| key.name.as_str()),
            deadline: Instant::now() + self.limits.deadline,
        };
        let keyed = match &key {
            Some(key) if is_sticky => Some(self.resolve_key(task, key, trace).await?),
            _ => None,
        };
        let mut placement = match (request.upgrade, keyed) {
            (false, Some(keyed)) => self.plain_placement(task, keyed),
            (false, None) => return Err(RejectReason::Internal.into()),
            (true, keyed) => self.place_in_pool(task, keyed, trace).await?,
        };
        let sources = HeaderSources {
            account: &request.session.account,
            roles: &request.session.roles,
            key: key.as_ref().map(|key| key.name.as_str()),
            claims: &request.session.claims,
        };
        let headers = details.headers.iter().filter_map(|(name, template)| {
            let value = template.render(&sources)?;
            Some((name.clone(), value))
        });
        let headers: BTreeMap<String, String> = headers.collect();
        placement.set_headers.extend(headers.clone());
        if let Some(affinity) = &mut placement.affinity {
            affinity.set_headers = headers;
        }
        Ok(placement)
    }

    async fn place_in_pool(
        &self,
        task: PlacementTask<'_>,
        mut keyed: Option<KeyedEngine>,
        trace: &mut DecisionTrace,
    ) -> Result<Placement, Rejection> {
        let PlacementTask { pool, target, .. } = task;
        // Released on drop, however the placement ends.
        let session_slot = pool.acquire_stream_slot(&task.request.session.session_ref)?;
        let affinity = keyed.as_ref().map(|keyed| keyed.affinity.clone());
        // Counts the stream until it is placed or dropped.
        let mut joined = match &keyed {
            Some(keyed) => Some(self.join_key(task, keyed).await?),
            None => None,
        };
        let with_affinity = |placement| Placement {
            affinity,
            ..placement
        };
        let is_new = keyed.as_ref().is_none_or(|keyed| keyed.prepared.is_some());
        let reason = pool.key_reason(is_new);
        let Some(key) = AffinityKey::for_request(target, task.request, pool.sharing) else {
            let mut prepared_engine = self.prepare_engine(task, keyed, trace).await?;
            prepared_engine.join(joined);
            let (placement, _) =
                self.complete_placement(task, prepared_engine, session_slot, reason, None);
            return Ok(with_affinity(placement));
        };
        let lock = self.affinity.entry(key);
        let Ok(mut entry) = timeout_at(task.deadline, lock.lock()).await else {
            return Err(engine_failed(
                "another socket is still preparing the same session",
            ));
        };
        if entry.is_none()
            && let Some(keys) = &self.keys
        {
            *entry = keys.tabs.find(key, task.deadline).await;
        }
        // The engine session of the tab may be on the engine that its key had before.
        let stays = |entry: &&AffinityEntry| {
            let engine = keyed.as_ref().map(|keyed| &keyed.engine.name);
            engine.is_none_or(|engine| *engine == entry.engine)
        };
        if let Some(previous) = entry.as_ref().filter(stays)
            && let Some(mut prepared_engine) = self.resume(task, previous).await
        {
            prepared_engine.join(joined.take());
            let reason = explain::resume_reason(pool.sharing);
            let (placement, session) = self.complete_placement(
                task,
                prepared_engine,
                session_slot,
                reason,
                Some((key, &lock)),
            );
            if let Some(entry) = entry.as_mut() {
                entry.session = session;
            }
            return Ok(with_affinity(placement));
        }
        let reason = if entry.is_some() { REPLACED } else { reason };
        match self.prepare_engine(task, keyed.take(), trace).await {
            Ok(mut prepared_engine) => {
                prepared_engine.join(joined);
                let (engine, prepared) = (
                    Arc::clone(&prepared_engine.engine),
                    prepared_engine.prepared.clone(),
                );
                let (placement, session) = self.complete_placement(
                    task,
                    prepared_engine,
                    session_slot,
                    reason,
                    Some((key, &lock)),
                );
                let created = AffinityEntry::new(&engine, prepared, session);
                if let Some(keys) = &self.keys {
                    let session_ref = &task.request.session.session_ref;
                    keys.tabs.put(key, session_ref, &pool.name, &created);
                }
                *entry = Some(created);
                self.affinity.insert(key, &lock);
                Ok(with_affinity(placement))
            }
            Err(rejection) => {
                if entry.is_none() {
                    self.affinity.remove(key);
                }
                Err(rejection)
            }
        }
    }

    /// Prepares a session on the engine of the key, or on one that the scheduler selects.
    async fn prepare_engine(
        &self,
        task: PlacementTask<'_>,
        keyed: Option<KeyedEngine>,
        trace: &mut DecisionTrace,
    ) -> Result<PreparedEngine, Rejection> {
        match keyed {
            Some(KeyedEngine {
                prepared: Some(prepared),
                ..
            }) => Ok(prepared),
            Some(KeyedEngine { engine, .. }) => self.join_engine(task, engine).await,
            None => self.attempt_engines(task, trace).await,
        }
    }
}
