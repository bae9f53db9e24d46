//! `verify`: both sides of a partition, compared row by row.

use replat_engine::{Listed, WorkLog};
use replat_model::deploy::Deployment;
use replat_model::ids::PartitionId;
use serde_json::json;

use crate::cli::Target;
use crate::deploy::Desk;
use crate::failure::{Exit, Failure};
use crate::planning;
use crate::render;
use crate::watch::safe;

impl Desk<'_> {
    /// `verify`: compares both sides of the partition's deployment.
    pub async fn verify(&self, target: &Target) -> Result<(), Failure> {
        let wanted = planning::wanted(&self.project, &self.store, target)?;
        let id = &wanted.id;
        let (listed, d) = self.on_both_sides(wanted.name, id)?.ok_or_else(|| {
            Failure::new(
                "RP2006",
                Exit::Invalid,
                format!("{id} is on one side only: there is nothing to compare"),
            )
            .remedy("A partition is on two sides from the copy of a deployment until its finish.")
        })?;
        let engine = self.watch().engine(&listed, &d, true)?;
        let certificate = engine.compare(&d).await?;
        let text = format!(
            "{}/{}  {}  digest {}",
            listed.context,
            id,
            render::certificate_text(&certificate),
            certificate.digest
        );
        let equal = certificate.different == 0;
        self.style.result(
            &text,
            &json!({ "id": listed.id, "partition": id, "equal": equal, "certificate": certificate }),
        );
        if equal {
            return Ok(());
        }
        let differ = render::counted(certificate.different as usize, "row differs", "rows differ");
        Err(Failure::new("RP4003", Exit::Different, differ)
            .because(certificate.samples)
            .state(safe(&d))
            .remedy(format!("See whether the streams run: replat deploy get {} --live", listed.id)))
    }
    /// The deployment that keeps the partition on both sides, if there is one.
    fn on_both_sides(
        &self,
        context: &str,
        id: &PartitionId,
    ) -> Result<Option<(Listed, Deployment)>, Failure> {
        let mut open = None;
        for listed in self.store.list()?.into_iter().filter(|l| l.context == context && l.partition == *id) {
            let d = self.watch().state(&listed)?;
            if d.copied.is_some() && !d.ended() && d.finished.is_none() {
                open = Some((listed, d));
            }
        }
        Ok(open)
    }
}
