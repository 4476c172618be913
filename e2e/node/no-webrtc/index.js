// The package webrtc-polyfill fetches a compiled library that no package
// registry has. The tests need no WebRTC, so these classes do nothing.

export class RTCPeerConnection {}
export class RTCSessionDescription {}
export class RTCIceCandidate {}
