//! The families of networks, a file each: how their members differ, and the resulting layers with the parameter names of torchvision where
//! it has the network, otherwise of timm; and timm's names beside torchvision's, where timm has it too.

mod blocks;
pub mod convnext;
pub mod densenet;
pub mod efficientnet;
pub mod efficientnet_lite;
pub mod googlenet;
pub mod inception_v3;
pub mod mobilenet_v2;
pub mod mobilenet_v3;
pub mod regnet;
pub mod resnet;
pub mod shufflenet_v2;
pub mod squeezenet;
pub mod swin;
mod timm_names;
pub mod vgg;
pub mod vision_transformer;
pub mod xception;
