use super::*;

fn proto(dtype: DType, dims: &[i64]) -> pb::TensorProto {
    pb::TensorProto { name: Some("t".into()), data_type: Some(dtype.onnx()), dims: dims.to_vec(), ..Default::default() }
}

fn read(p: &pb::TensorProto) -> Result<Tensor> {
    tensor(p, Path::new("."))
}

fn complaint(p: &pb::TensorProto) -> String {
    read(p).unwrap_err().to_string()
}

#[test]
fn raw_data_is_shared_both_ways() {
    let t = Tensor::from_f32(&[2, 2], &[1.0, -2.0, 0.5, f32::INFINITY]);
    let p = to_proto("w", &t);
    assert_eq!((p.name(), p.dims.as_slice()), ("w", &[2, 2][..]));
    let back = read(&p).unwrap();
    assert_eq!(back, t);
    assert_eq!(back.bytes().as_ptr(), t.bytes().as_ptr());
}

#[test]
fn every_type_has_its_typed_field() {
    use DType::*;
    let int32 = |dtype, values: &[i32]| read(&pb::TensorProto { int32_data: values.to_vec(), ..proto(dtype, &[2]) }).unwrap();
    assert_eq!(int32(I32, &[1, -2]).bytes()[..], [1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(int32(I16, &[1, -2]).bytes()[..], [1, 0, 0xfe, 0xff]);
    assert_eq!(int32(I8, &[1, -2]).bytes()[..], [1, 0xfe]);
    assert_eq!(int32(U8, &[1, 254]).bytes()[..], [1, 254]);
    assert_eq!(int32(U16, &[1, 65535]).bytes()[..], [1, 0, 255, 255]);
    assert_eq!(int32(F16, &[0x3c00, 0xc000]).bytes()[..], [0, 0x3c, 0, 0xc0]);
    assert_eq!(int32(BF16, &[0x3f80, 0]).bytes()[..], [0x80, 0x3f, 0, 0]);
    assert_eq!(int32(Bool, &[1, 0]).bytes()[..], [1, 0]);
    let t = read(&pb::TensorProto { float_data: vec![1.5, -2.0], ..proto(F32, &[2, 1]) }).unwrap();
    assert_eq!((t.to_f32().unwrap(), t.shape()), (vec![1.5, -2.0], &[2, 1][..]));
    let t = read(&pb::TensorProto { double_data: vec![1e300], ..proto(F64, &[]) }).unwrap();
    assert_eq!((t.to_f64().unwrap(), t.shape()), (vec![1e300], &[][..]));
    let t = read(&pb::TensorProto { int64_data: vec![i64::MIN], ..proto(I64, &[1]) }).unwrap();
    assert_eq!(t.to_i64().unwrap(), [i64::MIN]);
    let t = read(&pb::TensorProto { uint64_data: vec![u64::MAX], ..proto(U64, &[1]) }).unwrap();
    assert_eq!(t.bytes()[..], [255; 8]);
    let t = read(&pb::TensorProto { uint64_data: vec![u32::MAX as u64], ..proto(U32, &[1]) }).unwrap();
    assert_eq!(t.to_i64().unwrap(), [u32::MAX as i64]);
}

#[test]
fn nothing_is_an_empty_tensor_only() {
    assert_eq!(read(&proto(DType::F32, &[0, 3])).unwrap().count(), 0);
    assert_eq!(
        complaint(&proto(DType::F32, &[])).split(';').next(),
        Some("tensor `t` (float32[]) needs 1 elements in float_data but has 0")
    );
    let both = pb::TensorProto { raw_data: Some(Bytes::new()), float_data: vec![2.0], ..proto(DType::F32, &[]) };
    assert_eq!(read(&both).unwrap().to_f32().unwrap(), [2.0]);
}

#[test]
fn wrong_data_is_refused_by_name() {
    let raw = |n: usize| Some(Bytes::from(vec![0; n]));
    let f32s = |dims: &[i64]| proto(DType::F32, dims);
    let cases = [
        (pb::TensorProto { raw_data: raw(15), ..f32s(&[2, 2]) }, "needs 16 bytes of data but has 15"),
        (pb::TensorProto { raw_data: raw(17), ..f32s(&[2, 2]) }, "needs 16 bytes"),
        (pb::TensorProto { raw_data: raw(0), ..f32s(&[2, 2]) }, "needs 16 bytes"),
        (pb::TensorProto { raw_data: raw(4), float_data: vec![1.0], ..f32s(&[1]) }, "twice"),
        (pb::TensorProto { float_data: vec![1.0; 3], ..f32s(&[2, 2]) }, "needs 4 elements"),
        (pb::TensorProto { double_data: vec![1.0; 4], ..f32s(&[2, 2]) }, "another field than float_data"),
        (pb::TensorProto { raw_data: raw(4), ..f32s(&[-1]) }, "negative dimension"),
        (pb::TensorProto { raw_data: raw(4), ..f32s(&[i64::MAX, 4]) }, "impossible dimensions"),
        (pb::TensorProto { raw_data: raw(4), ..f32s(&[i64::MAX, i64::MAX]) }, "impossible dimensions"),
        (f32s(&[i64::MAX, 0]), "impossible dimensions"),
        (pb::TensorProto { int32_data: vec![128], ..proto(DType::I8, &[1]) }, "the element 128"),
        (pb::TensorProto { int32_data: vec![-1], ..proto(DType::U8, &[1]) }, "the element -1"),
        (pb::TensorProto { int32_data: vec![2], ..proto(DType::Bool, &[1]) }, "the element 2, which is no bool"),
        (pb::TensorProto { uint64_data: vec![1 << 32], ..proto(DType::U32, &[1]) }, "is no uint32"),
        (pb::TensorProto { segment: Some(Default::default()), ..f32s(&[]) }, "segments"),
        (pb::TensorProto { data_type: Some(8), string_data: vec![vec![]], ..f32s(&[1]) }, "type string"),
        (pb::TensorProto { data_type: Some(22), raw_data: raw(1), ..f32s(&[2]) }, "type int4"),
        (pb::TensorProto { data_type: Some(99), ..f32s(&[2]) }, "type 99"),
        (pb::TensorProto { data_type: None, ..f32s(&[2]) }, "type undefined"),
    ];
    for (p, expected) in cases {
        let e = complaint(&p);
        assert!(e.contains("`t`") && e.contains(expected), "{expected}: {e}");
    }
}
