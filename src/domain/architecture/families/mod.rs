//! The families of networks, a file each: how their members differ, and the resulting layers with the parameter names of torchvision where
//! it has the network, otherwise of timm.

mod blocks;
pub mod efficientnet;
pub mod efficientnet_lite;
pub mod resnet;
