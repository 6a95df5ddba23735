//! `skala demo --wire` as a process: real providers over HTTP, and a fleet that spills over from one cloud into another.

use crate::living::run;

#[test]
fn the_demo_over_the_wire_spills_over_and_scores() {
    // Half a simulated hour, in which the reports need more machines than the cellar has. Slow enough for a busy machine.
    let said = run(&["demo", "--wire", "--speed", "40", "--for", "50s"]);
    assert_eq!(said.code, 0, "{said:?}");
    print!("{}", said.out);
    let line = |start: &str| said.out.lines().rfind(|line| line.trim_start().starts_with(start)).unwrap().to_owned();
    for fleet in ["checkout", "video", "reports"] {
        assert!(line(fleet).contains("instance hours"), "{}", said.out);
    }
    let reports = line("reports");
    let hours = |cloud: &str| {
        let before = reports.split(&format!(" in {cloud}")).next().unwrap();
        before.rsplit([' ', ',']).next().unwrap().parse::<f64>().unwrap()
    };
    assert!(hours("cellar") > 0.5 && hours("cirrus") > 0.2, "{reports}");
    assert!(!reports.contains(" 0 changes"), "{reports}");
}
