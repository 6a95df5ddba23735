//! The calls, each for groups of a zone and of a region alike. In come names; out come the SDK's own types, whole, or one
//! typed failure. A list that stops in the middle is a failure with what came before it.

use crate::clients::Door;
use crate::errors::{Effect, Failure, transport, unanswered};
use crate::lane::Lane;
use crate::names::{GroupName, Place};
use contract::ProviderError;
use google_cloud_compute_v1::model::autoscaling_policy::Mode;
use google_cloud_compute_v1::model::{
    Autoscaler, AutoscalingPolicy, InstanceAggregatedList, InstanceGroupManager, InstanceGroupManagerAggregatedList,
    InstanceGroupManagersDeleteInstancesRequest, ManagedInstance, Operation,
    RegionInstanceGroupManagersDeleteInstancesRequest,
};
use google_cloud_gax::options::RequestOptionsBuilder;
use std::collections::BTreeSet;
use std::future::Future;
use tokio::time::Instant;

/// Items asked for in one page: the API's most.
pub(crate) const PAGE: u32 = 500;
/// Pages followed for one list.
const PAGES_MAX: usize = 200;

pub(crate) struct Calls {
    pub door: Door,
    pub lane: Lane,
    pub project: String,
}

/// Follows one list's tokens.
#[derive(Default)]
pub(crate) struct Pages {
    seen: BTreeSet<String>,
    token: Option<String>,
}

impl Pages {
    /// The token of the page to ask for next; the first has none.
    pub fn token(&mut self) -> Option<String> {
        self.token.take()
    }

    /// Notes what a page says of the next one; false when it was the last.
    ///
    /// # Errors
    /// `Transport` when pages go round in a circle or never end.
    pub fn go_on(&mut self, operation: &str, next: Option<&String>) -> Result<bool, ProviderError> {
        let Some(next) = next.filter(|token| !token.is_empty()) else { return Ok(false) };
        if self.seen.len() >= PAGES_MAX {
            return Err(transport(format!("{operation}: more than {PAGES_MAX} pages")));
        }
        if !self.seen.insert(next.clone()) {
            return Err(transport(format!("{operation}: the same page is offered again and again")));
        }
        self.token = Some(next.clone());
        Ok(true)
    }
}

fn settled(error: ProviderError) -> Failure {
    Failure { error, harmless: true, broke: false }
}

/// A client, when it can be made in time.
async fn made<'a, T: 'a>(
    deadline: Instant,
    client: impl Future<Output = Result<&'a T, ProviderError>>,
) -> Result<&'a T, Failure> {
    match tokio::time::timeout_at(deadline, client).await {
        Ok(client) => client.map_err(settled),
        Err(_) => Err(settled(transport("the client could not be made in time; is the metadata server there?"))),
    }
}

impl Calls {
    /// One page of all groups of the project; when it hangs, time is left for asking each place by itself.
    pub async fn aggregated(
        &self,
        deadline: Instant,
        token: Option<&String>,
    ) -> Result<InstanceGroupManagerAggregatedList, Failure> {
        const NAME: &str = "instanceGroupManagers.aggregatedList";
        let client = made(deadline, self.door.zonal()).await?;
        let request = client
            .aggregated_list()
            .set_project(&self.project)
            .set_max_results(PAGE)
            .set_or_clear_page_token(token.cloned());
        let page = self.lane.read_in_half(NAME, deadline, || request.clone().send()).await?;
        is_kind(NAME, page.kind.as_deref(), "compute#instanceGroupManagerAggregatedList")?;
        Ok(page)
    }

    /// All groups of a zone or a region, with its pages; the answer so far stays in `groups` when a later page fails.
    pub async fn list(
        &self,
        place: &Place,
        deadline: Instant,
        groups: &mut Vec<InstanceGroupManager>,
    ) -> Result<(), Failure> {
        let mut pages = Pages::default();
        loop {
            let token = pages.token();
            let (name, next) = match place {
                Place::Zone(zone) => {
                    let request =
                        made(deadline, self.door.zonal()).await?.list().set_project(&self.project).set_zone(&**zone);
                    let request = request.set_max_results(PAGE).set_or_clear_page_token(token);
                    let name = "instanceGroupManagers.list";
                    let page = self.lane.read(name, deadline, || request.clone().send()).await?;
                    is_kind(name, page.kind.as_deref(), "compute#instanceGroupManagerList")?;
                    groups.extend(page.items);
                    (name, page.next_page_token)
                }
                Place::Region(region) => {
                    let request = made(deadline, self.door.regional())
                        .await?
                        .list()
                        .set_project(&self.project)
                        .set_region(&**region);
                    let request = request.set_max_results(PAGE).set_or_clear_page_token(token);
                    let name = "regionInstanceGroupManagers.list";
                    let page = self.lane.read(name, deadline, || request.clone().send()).await?;
                    is_kind(name, page.kind.as_deref(), "compute#regionInstanceGroupManagerList")?;
                    groups.extend(page.items);
                    (name, page.next_page_token)
                }
            };
            if !pages.go_on(name, next.as_ref()).map_err(settled)? {
                return Ok(());
            }
        }
    }

    /// One group, fresh.
    pub async fn get(&self, group: &GroupName, deadline: Instant) -> Result<InstanceGroupManager, Failure> {
        let (name, found) = match &group.place {
            Place::Zone(zone) => {
                let request =
                    made(deadline, self.door.zonal()).await?.get().set_project(&self.project).set_zone(&**zone);
                let request = request.set_instance_group_manager(&*group.name);
                let name = "instanceGroupManagers.get";
                (name, self.lane.read(name, deadline, || request.clone().send()).await?)
            }
            Place::Region(region) => {
                let request =
                    made(deadline, self.door.regional()).await?.get().set_project(&self.project).set_region(&**region);
                let request = request.set_instance_group_manager(&*group.name);
                let name = "regionInstanceGroupManagers.get";
                (name, self.lane.read(name, deadline, || request.clone().send()).await?)
            }
        };
        if found.name.as_deref() != Some(&*group.name) {
            return Err(settled(transport(format!("{name}: the answer is of another group"))));
        }
        Ok(found)
    }

    /// A group's instances, all pages.
    pub async fn members(&self, group: &GroupName, deadline: Instant) -> Result<Vec<ManagedInstance>, Failure> {
        let (mut all, mut pages) = (Vec::new(), Pages::default());
        loop {
            let token = pages.token();
            let (name, next) = match &group.place {
                Place::Zone(zone) => {
                    let request = made(deadline, self.door.zonal())
                        .await?
                        .list_managed_instances()
                        .set_project(&self.project)
                        .set_zone(&**zone);
                    let request = request.set_instance_group_manager(&*group.name).set_max_results(PAGE);
                    let request = request.set_or_clear_page_token(token);
                    let name = "instanceGroupManagers.listManagedInstances";
                    let page = self.lane.read(name, deadline, || request.clone().send()).await?;
                    all.extend(page.managed_instances);
                    (name, page.next_page_token)
                }
                Place::Region(region) => {
                    let request =
                        made(deadline, self.door.regional()).await?.list_managed_instances().set_project(&self.project);
                    let request = request.set_region(&**region).set_instance_group_manager(&*group.name);
                    let request = request.set_max_results(PAGE).set_or_clear_page_token(token);
                    let name = "regionInstanceGroupManagers.listManagedInstances";
                    let page = self.lane.read(name, deadline, || request.clone().send()).await?;
                    all.extend(page.managed_instances);
                    (name, page.next_page_token)
                }
            };
            if !pages.go_on(name, next.as_ref()).map_err(settled)? {
                return Ok(all);
            }
        }
    }

    /// One page of all machines of the project.
    pub async fn machines(&self, deadline: Instant, token: Option<&String>) -> Result<InstanceAggregatedList, Failure> {
        const NAME: &str = "instances.aggregatedList";
        let client = made(deadline, self.door.instances()).await?;
        let request = client
            .aggregated_list()
            .set_project(&self.project)
            .set_max_results(PAGE)
            .set_or_clear_page_token(token.cloned());
        let page = self.lane.read(NAME, deadline, || request.clone().send()).await?;
        is_kind(NAME, page.kind.as_deref(), "compute#instanceAggregatedList")?;
        Ok(page)
    }

    /// An operation in the place of its group.
    pub async fn operation(&self, place: &Place, name: &str, deadline: Instant) -> Result<Operation, Failure> {
        match place {
            Place::Zone(zone) => {
                let request = made(deadline, self.door.zone_operations())
                    .await?
                    .get()
                    .set_project(&self.project)
                    .set_zone(&**zone);
                let request = request.set_operation(name);
                self.lane.read("zoneOperations.get", deadline, || request.clone().send()).await
            }
            Place::Region(region) => {
                let request = made(deadline, self.door.region_operations())
                    .await?
                    .get()
                    .set_project(&self.project)
                    .set_region(&**region);
                let request = request.set_operation(name);
                self.lane.read("regionOperations.get", deadline, || request.clone().send()).await
            }
        }
    }

    /// An autoscaler in the place of its group.
    pub async fn autoscaler(&self, place: &Place, name: &str, deadline: Instant) -> Result<Autoscaler, Failure> {
        match place {
            Place::Zone(zone) => {
                let request =
                    made(deadline, self.door.autoscalers()).await?.get().set_project(&self.project).set_zone(&**zone);
                let request = request.set_autoscaler(name);
                self.lane.read("autoscalers.get", deadline, || request.clone().send()).await
            }
            Place::Region(region) => {
                let request = made(deadline, self.door.region_autoscalers())
                    .await?
                    .get()
                    .set_project(&self.project)
                    .set_region(&**region);
                let request = request.set_autoscaler(name);
                self.lane.read("regionAutoscalers.get", deadline, || request.clone().send()).await
            }
        }
    }

    /// Sets an autoscaler's mode and nothing else. Returns the operation.
    pub async fn set_mode(
        &self,
        (place, name): (&Place, &str),
        mode: Mode,
        id: &str,
        deadline: Instant,
    ) -> Result<Operation, Failure> {
        // What a patch leaves out stays as it is.
        let body = Autoscaler::new().set_autoscaling_policy(AutoscalingPolicy::new().set_mode(mode));
        let (operation, answer) = match place {
            Place::Zone(zone) => {
                let call =
                    made(deadline, self.door.autoscalers()).await?.patch().set_project(&self.project).set_zone(&**zone);
                let call = call.set_autoscaler(name).set_body(body).set_request_id(id);
                let operation = "autoscalers.patch";
                (operation, self.lane.write(operation, deadline, call.with_idempotency(true).send()).await?)
            }
            Place::Region(region) => {
                let call = made(deadline, self.door.region_autoscalers()).await?.patch().set_project(&self.project);
                let call = call.set_region(&**region).set_autoscaler(name).set_body(body).set_request_id(id);
                let operation = "regionAutoscalers.patch";
                (operation, self.lane.write(operation, deadline, call.with_idempotency(true).send()).await?)
            }
        };
        taken(operation, answer)
    }

    /// Sets the number of instances that a group should hold. Returns the operation's name.
    pub async fn resize(&self, group: &GroupName, to: i32, id: &str, deadline: Instant) -> Result<Operation, Failure> {
        let (name, answer) = match &group.place {
            Place::Zone(zone) => {
                let call =
                    made(deadline, self.door.zonal()).await?.resize().set_project(&self.project).set_zone(&**zone);
                let call = call.set_instance_group_manager(&*group.name).set_size(to).set_request_id(id);
                let name = "instanceGroupManagers.resize";
                (name, self.lane.write(name, deadline, call.with_idempotency(true).send()).await?)
            }
            Place::Region(region) => {
                let call = made(deadline, self.door.regional())
                    .await?
                    .resize()
                    .set_project(&self.project)
                    .set_region(&**region);
                let call = call.set_instance_group_manager(&*group.name).set_size(to).set_request_id(id);
                let name = "regionInstanceGroupManagers.resize";
                (name, self.lane.write(name, deadline, call.with_idempotency(true).send()).await?)
            }
        };
        taken(name, answer)
    }

    /// Deletes instances, and lowers the number that the group should hold by as many; those that cannot be are left.
    pub async fn delete(
        &self,
        group: &GroupName,
        paths: Vec<String>,
        id: &str,
        deadline: Instant,
    ) -> Result<Operation, Failure> {
        let (name, answer) = match &group.place {
            Place::Zone(zone) => {
                let body = InstanceGroupManagersDeleteInstancesRequest::new()
                    .set_instances(paths)
                    .set_skip_instances_on_validation_error(true);
                let call = made(deadline, self.door.zonal())
                    .await?
                    .delete_instances()
                    .set_project(&self.project)
                    .set_zone(&**zone);
                let call = call.set_instance_group_manager(&*group.name).set_body(body).set_request_id(id);
                let name = "instanceGroupManagers.deleteInstances";
                (name, self.lane.write(name, deadline, call.with_idempotency(true).send()).await?)
            }
            Place::Region(region) => {
                let body = RegionInstanceGroupManagersDeleteInstancesRequest::new()
                    .set_instances(paths)
                    .set_skip_instances_on_validation_error(true);
                let call = made(deadline, self.door.regional())
                    .await?
                    .delete_instances()
                    .set_project(&self.project)
                    .set_region(&**region);
                let call = call.set_instance_group_manager(&*group.name).set_body(body).set_request_id(id);
                let name = "regionInstanceGroupManagers.deleteInstances";
                (name, self.lane.write(name, deadline, call.with_idempotency(true).send()).await?)
            }
        };
        taken(name, answer)
    }
}

/// The SDK takes any document for an answer in which everything is missing; one that does not say what it is, is none.
fn is_kind(operation: &str, kind: Option<&str>, expected: &str) -> Result<(), Failure> {
    if kind == Some(expected) {
        return Ok(());
    }
    Err(settled(transport(format!("{operation}: the answer is no {expected}; check endpoint_url"))))
}

/// A write was taken when the answer is an operation with a name.
fn taken(operation: &str, answer: Operation) -> Result<Operation, Failure> {
    let named = answer.name.as_deref().is_some_and(|name| !name.is_empty());
    if named && answer.kind.as_deref() == Some("compute#operation") {
        return Ok(answer);
    }
    Err(unanswered(operation, Effect::Write, "the answer is no operation; check endpoint_url", None))
}
