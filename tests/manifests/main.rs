//! scratch
#[test]
fn dump() {
    for crd in composio_operator::crd::all() {
        std::fs::write(format!("/tmp/crdtry/{}.yaml", crd.spec.names.plural), serde_saphyr::to_string(&crd).unwrap()).unwrap();
    }
}
