//! Load rises and falls: the main job.

use super::exporter::Show;
use super::scene::{Scene, Start};
use std::time::Duration;

#[test]
fn load_falls_to_three() {
    let mut scene = Scene::start("load-falls", Start::default());
    scene.until_settled();
    scene.show(Show::All);
    scene.ends_well();
}
